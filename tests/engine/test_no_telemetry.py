import os
import subprocess
import sys

import pytest

TRACK = "import os, trk; trk.Tracker(); print(os.environ['ORT_DISABLE_TELEMETRY'])"


def track(**changes):
    """Load a bundle in a process whose home can't be written, where ONNX Runtime would complain that it keeps no id."""
    machine = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment = {**machine, "HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, **changes}
    return subprocess.run([sys.executable, "-c", TRACK], env=environment, capture_output=True, text=True, check=True)


def test_the_runtimes_telemetry_is_off():
    done = track()
    assert done.stdout.split() == ["1"]
    assert "telemetry" not in done.stderr.lower()


@pytest.mark.parametrize("chosen", ["0", "yes"])
def test_who_set_it_already_is_obeyed(chosen):
    assert track(ORT_DISABLE_TELEMETRY=chosen).stdout.split() == [chosen]
