"""A window in which the targets are drawn with the mouse, for `trk-run VIDEO` where there is a display.

Tk rather than OpenCV's highgui: Python brings it, while the OpenCV that trk depends on (headless) has no windows, and
the one that has replaces it file by file.
"""

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2

from ..errors import UsageError
from ..video.draw import PALETTE
from ..video.record import Box
from ..video.resumed import Resumed
from ..video.seeds import Seed
from ..video.source import Frame, Image, Source

if TYPE_CHECKING:
    import tkinter

NO_TARGET = "no target: give its box in the first frame as --init x,y,w,h, or draw it: --web"
SMALLEST = 4
"""Screen pixels a side: less is a click, not a box."""
SHARE_OF_SCREEN = 0.8
COMFORTABLE_SIDE = 640
"""Screen pixels: a smaller video is shown larger, up to here."""
WIDE = 640
"""Screen pixels: in a narrower window the words stand over the buttons."""
POLL_MS = 100
PAGE, CARD, INK, QUIET, ACCENT, ON_ACCENT = "#11161b", "#2a333c", "#e7ecf0", "#98a4b0", "#2dd4bf", "#06201d"
READY = {"state": "normal", "background": ACCENT, "foreground": ON_ACCENT}
WAITING = {"state": "disabled", "background": CARD, "foreground": INK}
HINT = "Draw a box around each target"


def has_display() -> bool:
    """Whether a window can be shown: elsewhere than on Windows and macOS a display has to be named."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY"))


def draw_targets(source: Source) -> tuple[list[Seed], Source]:
    """Let the targets be drawn in the first frame of `source`, or in a later one that is gone to.

    Returns their boxes at that frame's number, and the source from that frame on. Raises UsageError: no window can be
    opened; KeyboardInterrupt: it was closed without a box.
    """
    boxes, frame = _drawn(source)
    # The parts of a window refer to each other. Tk ends the process where another thread is the one to collect them.
    gc.collect()
    return [Seed(box, number, frame.index) for number, box in enumerate(boxes, start=1)], Resumed(frame, source)


def _drawn(source: Source) -> tuple[list[Box], Frame]:
    try:
        import tkinter
    except ImportError:
        raise UsageError(f"{NO_TARGET} (a window to draw in needs tkinter: apt install python3-tk)") from None
    try:
        root = tkinter.Tk(className="trk")
    except tkinter.TclError as error:
        raise UsageError(f"{NO_TARGET} (no window can be opened: {error})") from None
    try:
        window = Window(root, source)
        window.run()
    finally:
        root.destroy()
    return window.boxes, window.frame


class Window:
    """The picture with the boxes drawn so far; `run` returns when Start was pressed."""

    def __init__(self, root: "tkinter.Tk", source: Source):
        import tkinter as tk

        self.frame: Frame = next(source)
        self.boxes: list[Box] = []
        """x, y, w, h in the video's own pixels."""
        self._source = source
        self._root = root
        self._error: BaseException | None = KeyboardInterrupt()
        self._from: tuple[float, float] | None = None
        width, height = source.size_wh
        screen_wh = root.winfo_screenwidth() * SHARE_OF_SCREEN, root.winfo_screenheight() * SHARE_OF_SCREEN - 60
        fits = min(screen_wh[0] / width, screen_wh[1] / height)
        self._scale = min(fits, max(1.0, COMFORTABLE_SIDE / max(width, height)))
        self._shown_wh = max(1, round(width * self._scale)), max(1, round(height * self._scale))
        root.title(f"{source.name} - trk: draw the targets")
        root.configure(background=PAGE)
        root.resizable(False, False)
        self._canvas = tk.Canvas(
            root, width=self._shown_wh[0], height=self._shown_wh[1], highlightthickness=0, cursor="crosshair", bg=PAGE
        )
        self._canvas.pack(side="top", anchor="nw")
        bar = tk.Frame(root, background=PAGE)
        bar.pack(side="bottom", fill="x", padx=10, pady=8)
        look = {"relief": "flat", "borderwidth": 0, "highlightthickness": 0, "padx": 14, "pady": 6}
        plain = {**look, "background": CARD, "foreground": INK, "disabledforeground": QUIET}
        self._start = tk.Button(bar, text="Start", command=self._done, **plain)  # type: ignore[arg-type]
        self._undo = tk.Button(bar, text="Undo", command=self._remove_last, **plain)  # type: ignore[arg-type]
        words = "Newer picture" if source.live else "Next frame"
        self._next = tk.Button(bar, text=words, command=self._go_on, **plain)  # type: ignore[arg-type]
        for button in (self._start, self._undo, self._next):
            button.pack(side="right", padx=(8, 0))
        # As wide as there is room, whatever it says: a window that changes its width moves the picture under the mouse.
        beside = self._shown_wh[0] >= WIDE
        self._words = tk.Label(bar if beside else root, background=PAGE, foreground=QUIET, anchor="w", width=1)
        self._words.pack(side="left" if beside else "bottom", fill="x", expand=beside, padx=0 if beside else 10)
        self._listen()
        self._show()

    def run(self) -> None:
        """Wait for Start. Raises KeyboardInterrupt where the window is closed, and what went wrong in it."""
        self._root.report_callback_exception = self._failed
        self._root.lift()
        self._root.focus_force()
        self._poll()
        self._root.mainloop()
        if self._error is not None:
            raise self._error

    def _listen(self) -> None:
        canvas, root = self._canvas, self._root
        canvas.bind("<ButtonPress-1>", self._press)
        canvas.bind("<B1-Motion>", self._drag)
        canvas.bind("<ButtonRelease-1>", self._release)
        for keys, action in (
            (("<Return>", "<KP_Enter>", "<space>"), self._done),
            (("<BackSpace>", "<Delete>"), self._remove_last),
            (("<Right>",), self._go_on),
            (("<Escape>",), root.quit),
        ):
            for key in keys:
                root.bind(key, lambda event, action=action: action())  # type: ignore[misc]
        root.protocol("WM_DELETE_WINDOW", root.quit)

    def _poll(self) -> None:
        # Tk's loop is not Python: without something to run, Ctrl-C would wait for the next event.
        self._root.after(POLL_MS, self._poll)

    def _failed(self, kind: Any, error: BaseException, trace: Any) -> None:
        self._error = error
        self._root.quit()

    def _done(self) -> None:
        if self.boxes:
            self._error = None
            self._root.quit()

    def _remove_last(self) -> None:
        del self.boxes[-1:]
        self._show()

    def _go_on(self) -> None:
        frame = next(self._source, None)
        if frame is None:
            self._next.configure(state="disabled")
            return
        self.frame = frame
        self.boxes.clear()  # they were of the picture before
        self._show()

    def _press(self, event: "tkinter.Event[Any]") -> None:
        self._from = self._inside(event)

    def _drag(self, event: "tkinter.Event[Any]") -> None:
        if self._from is None:
            return
        self._canvas.delete("drawing")
        self._outline((*self._from, *self._inside(event)), "#ffffff", "drawing", dash=(6, 4))
        self._tell(self._box(event))

    def _release(self, event: "tkinter.Event[Any]") -> None:
        if self._from is None:
            return
        box = self._box(event)
        self._from = None
        if min(box[2], box[3]) * self._scale >= SMALLEST:
            self.boxes.append(box)
        self._show()

    def _inside(self, event: "tkinter.Event[Any]") -> tuple[float, float]:
        return min(max(event.x, 0), self._shown_wh[0]), min(max(event.y, 0), self._shown_wh[1])

    def _box(self, event: "tkinter.Event[Any]") -> Box:
        (x0, y0), (x1, y1) = self._from or (0, 0), self._inside(event)
        left, top, width, height = min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)
        return left / self._scale, top / self._scale, width / self._scale, height / self._scale

    def _show(self) -> None:
        self._canvas.delete("all")
        self._picture = _photo(self.frame.image, self._shown_wh)  # kept: Tk does not
        self._canvas.create_image(0, 0, anchor="nw", image=self._picture)
        for number, (x, y, w, h) in enumerate(self.boxes, start=1):
            colour = "#{2:02x}{1:02x}{0:02x}".format(*PALETTE[(number - 1) % len(PALETTE)])
            corners = [value * self._scale for value in (x, y, x + w, y + h)]
            self._outline(corners, colour, "box")
            label = self._canvas.create_text(corners[0] + 7, corners[1] + 4, anchor="nw", text=str(number), fill=PAGE)
            left, top, right, bottom = self._canvas.bbox(label)
            panel = self._canvas.create_rectangle(left - 6, top - 3, right + 5, bottom + 2, fill=colour, width=0)
            self._canvas.tag_raise(label, panel)
        self._undo.configure(state="normal" if self.boxes else "disabled")
        self._start.configure(**(READY if self.boxes else WAITING))
        self._tell(self.boxes[-1] if self.boxes else None)

    def _outline(self, corners: Sequence[float], colour: str, tag: str, dash: tuple[int, ...] = ()) -> None:
        self._canvas.create_rectangle(*corners, outline="#000000", width=4, tags=tag)
        self._canvas.create_rectangle(*corners, outline=colour, width=2, dash=dash, tags=tag)

    def _tell(self, box: Box | None) -> None:
        words = HINT if box is None else "x {:.0f}  y {:.0f}  w {:.0f}  h {:.0f}".format(*box)
        self._words.configure(text=f"Frame {self.frame.index}   {words}")


def _photo(image: Image, size_wh: tuple[int, int]) -> "tkinter.PhotoImage":
    """The picture as Tk takes it: a PPM file in memory."""
    import tkinter

    smaller = size_wh[0] < image.shape[1]
    shown = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return tkinter.PhotoImage(data=cv2.imencode(".ppm", shown)[1].tobytes())
