"""A stream from somebody else's RTSP server: GStreamer's, which is killed and comes back."""

import itertools
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from trk.video import live
from trk.video.live import LiveSource
from trk.video.source import open_source

PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")
"""The system's: that is where GStreamer's bindings are."""
IMPORTS = """
import gi, sys
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
assert Gst.ElementFactory.find("x264enc") and Gst.ElementFactory.find("rtph264pay")
"""
SERVE = """
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=50 ! rtph264pay name=pay0 pt=96 )"
)
server.get_mount_points().add_factory("/ball", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def serve() -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    if PYTHON is None or subprocess.run([PYTHON, "-c", IMPORTS], capture_output=True).returncode:
        pytest.skip("GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0, python3-gi, x264enc)")
    started = []

    def start(port: int) -> subprocess.Popen[str]:
        process = subprocess.Popen([PYTHON, "-c", IMPORTS + SERVE, str(port)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_frames_come_and_come_again(
    serve: Callable[[int], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BACK_OFF", (0.2,))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = serve(port)
    with open_source(f"rtsp://127.0.0.1:{port}/ball") as source:
        assert isinstance(source, LiveSource)
        assert (source.size_wh, source.fps) == ((320, 240), 25.0)
        images = [next(source).image for _ in range(20)]
        assert all(image.max() > 200 > 50 > image.min() for image in images)
        assert any((one != other).any() for one, other in itertools.pairwise(images))
        server.kill()
        server.wait()
        serve(port)
        while not source.reconnects:
            next(source)
        assert next(source).image.shape == (240, 320, 3)
