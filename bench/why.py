"""Why the score fell: pictures of the moments of a run, made of what the tracker's network was shown."""

from pathlib import Path
from typing import cast

import cv2

from ..engine.backends.base import Backend
from ..engine.bundle import Bundle
from ..engine.result import Result
from ..engine.tracker import Tracker
from ..errors import SinkError
from ..video.partial import PartialFile
from .why_falls import FALL, Falls, Recorder
from .why_maps import Explainer
from .why_picture import reasons, strip


class Why:
    """Watches a tracker of one target and writes a strip for each fall of its score.

    `folder` is made where it is missing. From here on the tracker's backend is a recorder that stands before it.
    Raises SinkError, BackendError or BundleError at once where it could only fail later.
    """

    def __init__(self, tracker: Tracker, folder: Path):
        bundle = Bundle(tracker.bundle.path)  # the tracker has closed its own
        try:
            self._explainer = Explainer(bundle)
        finally:
            bundle.close()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"can't write pictures into {folder} ({error.strerror}): name a folder") from None
        self._folder = folder
        self._recorder = Recorder(tracker.backend, self._explainer.template)
        tracker.backend = cast(Backend, self._recorder)
        self._falls = Falls()
        self._title = f"{tracker.manifest.title}, {tracker.manifest.precision}"

    def add(self, frame_index: int, result: Result) -> None:
        """Take the result of the frame that was just tracked."""
        call = self._recorder.take()
        if call is not None:
            self._falls.add(frame_index, call, result)

    def write(self) -> tuple[list[Path], list[str]]:
        """Write the pictures; return their paths, and a line about each."""
        paths, lines = [], []
        for moment in self._falls.moments():
            explained = [(seen, self._explainer.explain(seen.call)) for seen in moment.seen]
            worst = moment.worst
            # Six digits keep the files of a run in its order.
            path = self._folder / f"why-{worst.frame_index:06d}.png"
            what = (
                f"{worst.score:.3g}, {100 * moment.fall:.0f} % below the usual {worst.usual:.3g}"
                if moment.fall >= FALL
                else f"{worst.score:.3g}, the least sure frame; nowhere did it fall by {100 * FALL:.0f} %"
            )
            found, data = cv2.imencode(".png", strip(moment, explained, f"{self._title}: score {what}"))
            assert found
            file = PartialFile(path)
            file.temporary.write_bytes(data.tobytes())
            file.publish()
            paths.append(path)
            why = next(("; ".join(reasons(*one)) for one in explained if one[0] is worst), "")
            lines.append(f"frame {worst.frame_index}: score {what}" + (f": {why}" if why else ""))
        return paths, lines
