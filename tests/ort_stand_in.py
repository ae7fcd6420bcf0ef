"""What stands for ONNX Runtime's CUDA provider where there is no GPU: CPU sessions on the stand-in's memory."""

import ctypes
from collections import Counter
from threading import current_thread

import numpy as np
from cuda_stand_in import GLOBAL, Code

PLAIN = 2
"""Runs before one is captured: what is only allocated in the first or in the second can't be captured."""


class FakeCudaSession:
    """A session of ONNX Runtime's CUDA provider: a CPU one on what lies at the addresses, in the stream it was given.

    With a CUDA graph, a call in a thread that has captured none of that number goes on until it has, as there: PLAIN
    runs, one that is captured, in the mode that lets no other thread free memory, and its replay. From then on calls in
    that thread are replays, whatever is bound then. `options`: what the provider was asked for.
    """

    def __init__(self, session, runtime, options):
        self.session, self.runtime, self.options = session, runtime, options
        self.stream = int(options["user_compute_stream"])
        self.captured = {}
        """Captured graphs by thread, which a later one with the same number is not, and number."""
        self.plain, self.replayed = Counter(), Counter()
        """Runs of each thread."""
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def get_providers(self):
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def io_binding(self):
        return FakeBinding()

    def run_with_iobinding(self, binding, run_options):
        assert run_options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        bound, thread = dict(binding.bound), current_thread()
        if self.options.get("enable_cuda_graph") != "1":
            self._put(bound)
            return
        graph = thread, run_options.get_run_config_entry("gpu_graph_id")
        if graph not in self.captured:
            for _ in range(PLAIN):
                self._put(bound)
                self.plain[thread] += 1
            self.captured[graph] = self._capture(bound)
        self.replayed[thread] += 1
        self.runtime.calls.append(("launch", self.stream))
        for work in self.captured[graph]:
            self.runtime.put(work, self.stream)

    def while_capturing(self):
        """What else goes on in the process."""

    def captures(self, thread):
        """How many graphs a thread has captured."""
        return sum(owner is thread for owner, _ in self.captured)

    def _put(self, bound):
        self.runtime.put(lambda: self._run(bound), self.stream)

    def _capture(self, bound):
        self.runtime.cudaStreamSynchronize(self.stream)
        self.runtime.cudaStreamBeginCapture(self.stream, GLOBAL)
        self._put(bound)
        self.while_capturing()
        code, graph = self.runtime.cudaStreamEndCapture(self.stream)
        if code != Code.cudaSuccess:
            raise RuntimeError("CUDA failure 901: operation failed due to a previous error during capture")
        return tuple(graph)

    def _run(self, bound):
        names = [value.name for value in self.session.get_outputs()]
        results = self.session.run(names, {v.name: at(*bound[v.name]) for v in self.session.get_inputs()})
        for name, result in zip(names, results, strict=True):
            at(*bound[name])[...] = result


class FakeBinding:
    def __init__(self):
        self.bound = {}

    def bind_input(self, name, device_type, device_id, element_type, shape, buffer_ptr):
        assert (device_type, device_id) == ("cuda", 0)
        self.bound[name] = element_type, shape, buffer_ptr

    bind_output = bind_input


def at(dtype, shape, address):
    """The array of host memory at an address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(shape)
