"""Cameras on the network, over loopback: a server of MJPEG over HTTP and one of H.264 over RTSP, which may misbehave.

What travels is real: JPEG parts as any network camera sends them, and RTP packets made by FFmpeg's own packetiser.
"""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import cv2
import numpy as np

SIZE = (96, 64)


def counted_image(number: int, size_wh: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture whose eight columns are the bits of `number`, 0..255."""
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for bit in range(8):
        image[:, bit * 12 : bit * 12 + 12] = 255 if number >> bit & 1 else 0
    return image


def number_of(image: np.ndarray) -> int:
    """The number that `counted_image` wrote."""
    return sum(1 << bit for bit in range(8) if image[32, bit * 12 + 6].mean() > 127)


class Camera:
    """What the server is to do: `plans[n]` for connection n; the last one repeats. A plan is (frames, then).

    `then`: "end" closes the connection, "stall" sends nothing more, "refuse" answers that there is nothing.
    """

    def __init__(self, images: list[np.ndarray] | None = None) -> None:
        self.plans: list[tuple[int, str]] = [(10_000, "end")]
        self.interval = 0.01
        self.turns: threading.Semaphore | None = None
        """Where there is one, a picture waits for its turn rather than for the clock."""
        self.connections = 0
        self.sent = 0
        self.closing = threading.Event()
        self.size_wh = SIZE
        self.url = ""
        self._images = images

    def connect(self) -> tuple[int, str]:
        """The plan of a new connection."""
        number, self.connections = self.connections, self.connections + 1
        return self.plans[min(number, len(self.plans) - 1)]

    def pictures(self, frames: int) -> Iterator[np.ndarray]:
        """The next pictures, one an interval or a turn, until the test is over."""
        for _ in range(frames):
            while self.turns and not self.turns.acquire(timeout=0.05) and not self.closing.is_set():
                pass
            if self.closing.is_set():
                return
            if self._images is None:
                yield counted_image(self.sent % 256, self.size_wh)
            else:
                yield self._images[min(self.sent, len(self._images) - 1)]
            self.sent += 1
            if not self.turns:
                time.sleep(self.interval)


@contextmanager
def http_camera(images: list[np.ndarray] | None = None) -> Iterator[Camera]:
    """MJPEG in parts over HTTP; the address has a user, a password and a query."""
    camera = Camera(images)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            frames, then = camera.connect()
            if then == "refuse":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for image in camera.pictures(frames):
                    data = cv2.imencode(".jpg", image)[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")
                if then == "stall":
                    camera.closing.wait(60)
            except OSError:
                pass

        def log_message(self, *words: object) -> None:
            pass

    with _serving(camera, ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        camera.url = f"http://user:secret@127.0.0.1:{port}/stream?key=hidden"
        yield camera


@contextmanager
def rtsp_camera(images: list[np.ndarray] | None = None) -> Iterator[Camera]:
    """H.264 over RTSP, the packets in the same connection (RFC 2326, section 10.12)."""
    camera = Camera(images)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            plan = camera.connect()
            try:
                while (request := self.request_of()) is not None and not camera.closing.is_set():
                    verb, number = request
                    answers = {
                        "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n",
                        "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}",
                        "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n\r\n",
                    }
                    code = "404 Not Found" if plan[1] == "refuse" else "200 OK"
                    rest = answers.get(verb, "Session: 1\r\n\r\n") if plan[1] != "refuse" else "\r\n"
                    self.wfile.write(f"RTSP/1.0 {code}\r\nCSeq: {number}\r\n{rest}".encode())
                    if verb == "PLAY":
                        self.play(plan[0])
                        if plan[1] == "stall":
                            camera.closing.wait(60)
                        return
            except OSError:
                pass

        def request_of(self) -> tuple[str, str] | None:
            lines = []
            while (line := self.rfile.readline().decode().strip()) or not lines:
                if not line:
                    return None
                lines.append(line)
            heads = dict(line.split(": ", 1) for line in lines[1:])
            return lines[0].split()[0], heads.get("CSeq", "0")

        def play(self, frames: int) -> None:
            for packet in rtp_packets(camera.pictures(frames)):
                self.wfile.write(b"$\0" + len(packet).to_bytes(2, "big") + packet)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    with _serving(camera, server) as port:
        camera.url = f"rtsp://user:secret@127.0.0.1:{port}/stream?key=hidden"
        yield camera


SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\na=control:*\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:trackID=0\r\n"
)
ENCODING = {"preset": "ultrafast", "tune": "zerolatency", "g": "10", "x264-params": "repeat-headers=1:log-level=error"}


def rtp_packets(images: Iterator[np.ndarray]) -> Iterator[bytes]:
    """RTP packets of the pictures as FFmpeg packs them: its muxer sends them to a port of ours."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("127.0.0.1", 0))
        port.settimeout(0.02)
        stream = None
        with av.open(f"rtp://127.0.0.1:{port.getsockname()[1]}?pkt_size=1200", "w", format="rtp") as output:
            began = time.monotonic()
            for image in images:
                if stream is None:
                    stream = output.add_stream("libx264", rate=25, options=ENCODING)
                    stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], "yuv420p"
                    stream.codec_context.time_base = Fraction(1, 90_000)
                    stream.codec_context.flags &= ~int(av.codec.context.Flags.global_header)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
                frame.pts, frame.time_base = round((time.monotonic() - began) * 90_000), Fraction(1, 90_000)
                output.mux(stream.encode(frame))
                yield from _received(port)


def _received(port: socket.socket) -> Iterator[bytes]:
    """The packets of one picture: the last one is marked (RFC 3550, section 5.1)."""
    while True:
        try:
            packet = port.recv(65536)
        except TimeoutError:
            return
        if packet[1] & 127 == 96:  # not a report
            yield packet
            if packet[1] & 128:
                return


@contextmanager
def _serving(camera: Camera, server: socketserver.TCPServer) -> Iterator[int]:
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        camera.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
