"""The web server behind `trk-run --web`: a page, a socket that shows the run and takes commands, and downloads.

Loopback unless told otherwise; every address needs the token of this run; a socket is opened only by the page itself.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import urlsplit

import cv2
import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from starlette.background import BackgroundTask

from ..errors import TrkError, UsageError
from ..video.source import Image
from .results import DOWNLOADS, write_result
from .session import Session

FOLDER = Path(__file__).parent
ASSETS = {"page.css": "text/css", "page.js": "text/javascript"}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_MESSAGE_BYTES = 16 << 10
PICTURE_SIDE = 1280
"""Pictures are shown at most so wide; boxes are in the video's own pixels all the same."""
JPEG_QUALITY = 82
SHORTEST_SECONDS = 1 / 30
"""Between two pictures: more than a screen shows is not sent."""

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Command(BaseModel):
    """What the page may ask for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    do: Literal["place", "remove", "run", "pause", "seek"]
    target: int | None = Field(None, ge=1, le=1_000_000)
    box: list[FiniteFloat] | None = Field(None, min_length=4, max_length=4)
    frame: int | None = Field(None, ge=0, le=2**53)


def perform(session: Session, command: Command) -> None:
    """Do what the page asks for. Raises TrkError."""
    if command.do == "place":
        if command.box is None:
            raise UsageError("a box is missing")
        session.place(command.box, command.target)
    elif command.do == "remove":
        session.remove(command.target or 0)
    elif command.do == "seek":
        session.seek(command.frame or 0)
    elif command.do == "run":
        session.run()
    else:
        session.pause()


def make_app(session: Session, token: str, hosts: tuple[str, ...] | None = LOOPBACK) -> FastAPI:
    """The application for one session. `hosts`: names under which it answers; None is any."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    def allowed(host: str | None, given: str | None) -> bool:
        known = hosts is None or urlsplit(f"//{host or ''}").hostname in hosts
        return known and secrets.compare_digest((given or "").encode(), token.encode())

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path.lstrip("/") in ASSETS or allowed(
            request.headers.get("host"), request.query_params.get("token")
        ):
            response = await call_next(request)
        else:
            response = PlainTextResponse("Wrong or missing token: open the address that trk-run printed.\n", 403)
        response.headers.update(HEADERS)
        return response

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(FOLDER / "page.html", media_type="text/html")

    @app.get("/{name}")
    async def asset(name: str) -> Response:
        if name not in ASSETS:
            return PlainTextResponse("Not found.\n", 404)
        return FileResponse(FOLDER / name, media_type=ASSETS[name])

    @app.get("/download/{name}")
    async def download(name: str) -> Response:
        if name not in DOWNLOADS:
            return PlainTextResponse("Not found.\n", 404)
        folder = TemporaryDirectory(prefix="trk-")
        try:
            path = await run_in_threadpool(write_result, session, Path(folder.name) / name)
        except (TrkError, OSError) as error:
            folder.cleanup()
            return PlainTextResponse(f"{error}\n", 409)
        return FileResponse(
            path, filename=f"{Path(session.name).stem}.{name}", background=BackgroundTask(folder.cleanup)
        )

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        host, origin = socket.headers.get("host"), socket.headers.get("origin")
        same = origin is not None and urlsplit(origin).netloc == host
        if not (same and allowed(host, socket.query_params.get("token"))):
            await socket.close(1008)
            return
        await socket.accept()
        showing = asyncio.create_task(_show(socket, session))
        try:
            await _obey(socket, session)
        finally:
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await showing

    return app


async def _obey(socket: WebSocket, session: Session) -> None:
    """Take commands until the page has gone."""
    while True:
        try:
            text = await socket.receive_text()
        except WebSocketDisconnect:
            return
        except KeyError:  # bytes: the page never sends them
            await socket.send_json({"type": "error", "message": "a command is text"})
            continue
        try:
            command = Command.model_validate_json(text)
            await run_in_threadpool(perform, session, command)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            await socket.send_json({"type": "error", "message": f"not a command: {where} {first['msg']}".strip()})
        except TrkError as error:
            await socket.send_json({"type": "error", "message": str(error)})


async def _show(socket: WebSocket, session: Session) -> None:
    """Send what has changed, at most `1 / SHORTEST_SECONDS` times a second: a slow page gets fewer pictures."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    changed.set()
    stop = session.listen(lambda: _wake(loop, changed))
    told, epoch, picture = 0, -1, -1
    try:
        width, height = session.source.size_wh
        await socket.send_json(
            {
                "type": "hello",
                "video": session.name,
                "width": width,
                "height": height,
                "rate": session.source.fps,
                "first": session.first,
                "last": None if session.source.count is None else session.first + max(session.source.count, 1) - 1,
                "live": session.source.live,
                "seekable": session.seekable,
                "model": session.tracker.manifest.title,
                "weights": session.tracker.manifest.weights.origin,
                "backend": f"{session.tracker.backend.name}, {session.tracker.backend.device}",
                "downloads": [name for name in DOWNLOADS if session.seekable or name != "video.mp4"],
            }
        )
        while True:
            await changed.wait()
            changed.clear()
            status, number, image = await run_in_threadpool(session.look, told, epoch)
            told, epoch = status["first"] + len(status["moments"]), status["epoch"]
            await socket.send_json(status)
            if number != picture:
                await socket.send_bytes(await run_in_threadpool(jpeg, image))
                picture = number
            await asyncio.sleep(SHORTEST_SECONDS)
    finally:
        stop()


def _wake(loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(changed.set)


def jpeg(image: Image) -> bytes:
    """The picture as JPEG, no wider than `PICTURE_SIDE`."""
    height, width = image.shape[:2]
    scale = PICTURE_SIDE / max(width, height)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(image.dtype, copy=False)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one. Raises UsageError: in use, or not this machine's address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(16)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"can't serve on {host}:{port} ({error.strerror}): choose another --port, or 0 for a free one"
        ) from None
    return listener


def make_server(session: Session, token: str, host: str) -> uvicorn.Server:
    """The server of one session, with its limits; `run(sockets=[...])` starts it."""
    app = make_app(session, token, LOOPBACK if host in LOOPBACK else None)
    # No logging configuration of its own: uvicorn's would switch off the loggers of trk and of whoever embeds it.
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        access_log=False,
        ws_max_size=MAX_MESSAGE_BYTES,
        timeout_graceful_shutdown=1,
        lifespan="off",
        ws="websockets-sansio",
        server_header=False,
    )
    return uvicorn.Server(config)


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(18)


def address(listener: socket.socket, host: str, token: str) -> str:
    """Where the page is."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}/?token={token}"
