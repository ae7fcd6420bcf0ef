"""Work over a cluster: Ray hands the jobs out, and what each finds comes back here.

Every machine needs trk, and the data set and bundles under the same paths.
"""

import socket
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many
from typing import Any, TypeVar

from ..errors import BackendError, TrkError, UsageError

KNOCK_SECONDS = 5
Found = TypeVar("Found")


def on_ray(
    calls: Many[tuple[Callable[..., Found], tuple[Any, ...]]], address: str
) -> Iterator[tuple[int, Found | TrkError]]:
    """Yield the number of each call with what it returned or its error, as it gets done.

    A call is a function and its arguments. `address`: of a Ray cluster (host:port, ray://host:port, auto), or "local":
    one of its own on this machine. A worker that dies is replaced, and its call tried once more. Raises UsageError
    without ray, BackendError where nothing answers.
    """
    try:
        import ray
    except ImportError:
        raise UsageError("--ray needs ray: pip install 'trk-engine[ray]'") from None
    _check(address)
    try:
        ray.init(
            address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False, include_dashboard=None
        )
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BackendError(f"no Ray cluster at {address} ({reason}): start one with `ray start --head`") from None
    try:
        waiting = {
            ray.remote(num_cpus=1, max_retries=1)(function).remote(*arguments): number
            for number, (function, arguments) in enumerate(calls)
        }
        while waiting:
            for done in ray.wait(list(waiting))[0]:
                yield waiting.pop(done), _result(ray, done)
    finally:
        ray.shutdown()


def _check(address: str) -> None:
    """Knock where a cluster should be: Ray itself goes on trying for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise BackendError(f"no Ray cluster at {address} ({error}): start one with `ray start --head`") from None


def _result(ray: Any, done: Any) -> Any:
    try:
        found = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TrkError):
            return error.cause
        raise
    except ray.exceptions.RayError as error:
        return BackendError(f"a worker of the cluster was lost: {str(error).splitlines()[0]}")
    return found
