import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from trk.video.interrupt import uninterrupted


class TerminatedError(Exception):
    pass


def terminated(number: int, frame: FrameType | None) -> None:
    raise TerminatedError


@pytest.fixture
def handled() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, terminated)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, TerminatedError)])
def test_a_signal_arrives_when_the_block_has_ended(number: int, error: type[BaseException]) -> None:
    steps = []
    with pytest.raises(error):  # noqa: PT012
        with uninterrupted():
            os.kill(os.getpid(), number)
            steps.append("whole")
        steps.append("never")
    assert steps == ["whole"]
    assert signal.getsignal(signal.SIGTERM) is terminated
    with pytest.raises(error):
        os.kill(os.getpid(), number)


@pytest.mark.usefixtures("handled")
def test_an_error_of_the_block_puts_the_handlers_back() -> None:
    with pytest.raises(ZeroDivisionError), uninterrupted():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGTERM) is terminated


def test_sigterm_that_nobody_handles_is_left_to_the_system() -> None:
    code = (
        "import os, signal\nfrom trk.video.interrupt import uninterrupted\n"
        "with uninterrupted():\n    os.kill(os.getpid(), signal.SIGTERM)\n    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


def test_another_thread_may_use_it() -> None:
    done: list[Callable[..., object] | int | None] = []

    def work() -> None:
        with uninterrupted():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]
