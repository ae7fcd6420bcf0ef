"""What a frame costs the host on a GPU: `update()` with a stand-in for CUDA, and a network that does nothing.

    python tests/host_part.py                        # this checkout
    python tests/host_part.py OTHER_CHECKOUT         # and another one in turn with it, on one core

Microseconds a frame, medians of all rounds, and the ratio to this checkout's. The frame lies on the device: nothing is
copied. Another checkout has to be one since the backends on a GPU have a core in common (engine/backends/device).
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

ROUNDS, FRAMES = 40, 300
HERE = Path(__file__).parent.parent


def work():
    """Time FRAMES updates whenever a line comes in."""
    # Of what is imported from here on, nothing is of the checkout that this file lies in, or that is installed.
    del sys.path[0]
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
    import numpy as np
    from cuda_stand_in import FakeRuntime
    from trackers import on_backend

    from trk import Tracker
    from trk.engine.backends.device.backend import DeviceBackend
    from trk.engine.bundle import Bundle
    from trk.engine.device_frame import DeviceFrame
    from trk.weights.shipped import default_bundle

    class Loaded:
        warm_up, capturable = 0, True
        bind = run = capture = staticmethod(lambda *_: None)

    class Stub(DeviceBackend):
        name = "stub"

        def _loaded(self, graph):
            return Loaded()

    runtime, frame, box = FakeRuntime(), np.zeros((720, 1280, 3), np.uint8), (600, 300, 60, 80)
    cuda = runtime.cuda
    cuda.launch, cuda.synchronize = (lambda graph: None), (lambda: None)
    backend = Stub(Bundle(default_bundle()).manifest, cuda)
    backend._allocate()
    tracker = on_backend(Tracker(threads=1, template_rate=0), backend)
    seen = DeviceFrame(4096, frame.shape, frame)
    tracker.init(frame, box)
    tracker.update(seen)
    for search in backend._searches:  # the target stays where it is
        search._output.box[:, :2], search._output.box[:, 2:] = 0, search._size
        search._output.score[:] = 0.9
    tracker.init(frame, box)
    for _ in sys.stdin:
        found = []
        for _ in range(FRAMES):
            began = perf_counter()
            tracker.update(seen)
            found.append(perf_counter() - began)
        print(median(found) * 1e6, flush=True)


def main(others):
    """Let the checkouts take turns, and print what each took."""
    core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    with tempfile.TemporaryDirectory() as folder:
        workers = {}
        for number, place in enumerate([HERE, *map(Path, others)]):
            path = Path(folder, str(number))
            path.mkdir()
            (path / "trk").symlink_to(place.resolve())
            environment = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{place / 'tests'}"}
            command, pipe = [sys.executable, __file__, "--work"], subprocess.PIPE
            workers[place] = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)
            if core is not None:
                os.sched_setaffinity(workers[place].pid, {core})
        found = {place: [] for place in workers}
        for _ in range(ROUNDS + 1):
            for place, worker in workers.items():
                worker.stdin.write("\n")
                worker.stdin.flush()
                found[place].append(float(worker.stdout.readline()))
        for worker in workers.values():
            worker.communicate()
    for place, (_, *times) in found.items():  # the first round warms up
        ratio = median(one / own for one, own in zip(times, found[HERE][1:], strict=True))
        print(f"{median(times):6.1f} us, {ratio:.2f} of this checkout's: {place}")


if __name__ == "__main__":
    work() if sys.argv[1:] == ["--work"] else main(sys.argv[1:])
