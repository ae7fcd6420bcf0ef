"""A source read ahead by a thread, so that decoding and tracking overlap.

Measured on the bunny clip (720p H.264) with a NanoTrack, one thread, 7 interleaved rounds on two busy cores: the
tracker waits 2 ms a frame for its picture instead of 12; processor time 8.1 ms instead of 7.9. On the clock it pays
where a core is free.
"""

import contextlib
import queue
import threading

from .source import Frame, Source

DEPTH = 4
"""Frames that may wait: enough to even out key frames, and 11 MB at 720p."""
POLL_SECONDS = 0.1


class Ahead(Source):
    """The frames of `source`, in order and none left out, decoded by a thread into a queue of `depth`.

    An error of the source arrives after every frame before it. Closing stops the thread and closes the source.
    """

    def __init__(self, source: Source, depth: int = DEPTH) -> None:
        self.name, self.size_wh, self.fps = source.name, source.size_wh, source.fps
        self.count, self.live = source.count, source.live
        self._source = source
        self._queue: queue.Queue[Frame | BaseException] = queue.Queue(depth)
        self._stop = threading.Event()
        self._ended = False
        # A daemon: a read that blocks for ever (a pipe, a dead disk) must not keep the process from ending.
        self._thread = threading.Thread(target=self._read, name="trk-decode", daemon=True)
        self._thread.start()

    def __next__(self) -> Frame:
        """The next frame; what the source raised where it ended."""
        if self._ended:
            raise StopIteration
        item = self._queue.get()
        if isinstance(item, Frame):
            return item
        self._ended = True
        raise item

    def close(self) -> None:
        """Stop reading; more than once is fine."""
        self._ended = True
        self._stop.set()
        self._thread.join(timeout=2.0)
        if not self._thread.is_alive():
            self._source.close()
        with contextlib.suppress(queue.Full):  # wakes a reader in another thread
            self._queue.put_nowait(StopIteration())

    def _read(self) -> None:
        try:
            for frame in self._source:
                if not self._put(frame):
                    return
            self._put(StopIteration())
        except BaseException as error:
            self._put(error)

    def _put(self, item: Frame | BaseException) -> bool:
        """Hand over one item; False where nobody wants it any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False
