"""The page's server: who may come in, what it answers to nonsense, and that nothing is lost."""

import csv
import io
import json
import struct
import threading
import time
from socket import SO_LINGER, SO_RCVBUF, SOL_SOCKET

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed (trk-engine[web])")
pytest.importorskip("httpx", reason="httpx is not installed: FastAPI's test client needs it")

from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from trk import SourceError, Tracker, UsageError
from trk.bench.ope import overlap
from trk.web.server import MAX_MESSAGE_BYTES, address, bind, make_app, make_server, new_token
from trk.web.session import Session

TOKEN = "token-of-this-test"
HOST = "http://127.0.0.1:8765"
ORIGIN = {"origin": HOST, "host": "127.0.0.1:8765"}


@pytest.fixture
def session(tiny_bundle, clip):
    session = Session(str(clip.video), Tracker(tiny_bundle, threads=1))
    yield session
    session.close()


@pytest.fixture
def client(session):
    with TestClient(make_app(session, TOKEN), base_url=HOST) as client:
        yield client


class Page:
    """What the page's script does, without a browser."""

    def __init__(self, socket):
        self.socket = socket
        self.pictures = 0
        self.hello = json.loads(self.next())
        self.status = None

    def next(self):
        while True:
            message = self.socket.receive()
            if message["type"] == "websocket.close":
                raise WebSocketDisconnect(message["code"])
            if message.get("text") is not None:
                return message["text"]
            assert message["bytes"].startswith(b"\xff\xd8")
            self.pictures += 1

    def send(self, **command):
        self.socket.send_text(json.dumps(command))

    def until(self, wanted):
        """Read statuses until one fulfils `wanted`; errors end it, too."""
        while True:
            message = json.loads(self.next())
            if message["type"] == "error":
                return message
            self.status = message
            if wanted(message):
                return message

    def error(self):
        return self.until(lambda status: False)["message"]


@pytest.fixture
def page(client):
    with client.websocket_connect(f"/live?token={TOKEN}", headers=ORIGIN) as socket:
        yield Page(socket)


@pytest.mark.parametrize("path", ["/", "/download/boxes.csv", "/nowhere"])
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", "ü"])
def test_nothing_without_the_token(client, path, token):
    answer = client.get(path, params={} if token is None else {"token": token})
    assert answer.status_code == 403
    assert "Wrong or missing token" in answer.text
    assert TOKEN not in answer.text


def test_page_and_its_parts_come_from_here_alone(client):
    page = client.get("/", params={"token": TOKEN})
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    for name in ("page.css", "page.js"):
        part = client.get(f"/{name}")
        assert part.status_code == 200
        assert "http:" not in part.text.replace("https:", "")
    assert "//" not in page.text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("path", ["/session.py", "/..%2fserver.py", "/download/..%2f..%2fpage.js", "/openapi.json"])
def test_no_other_file_is_served(client, path):
    assert client.get(path, params={"token": TOKEN}).status_code == 404


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        ("wrong", ORIGIN),
        (TOKEN, {"host": "127.0.0.1:8765"}),
        (TOKEN, {**ORIGIN, "origin": "http://evil.example"}),
        (TOKEN, {**ORIGIN, "origin": "null"}),
        (TOKEN, {"origin": "http://evil.example", "host": "evil.example"}),
        (TOKEN, {**ORIGIN, "origin": "http://localhost:8765"}),
    ],
)
def test_socket_is_opened_by_the_page_alone(client, token, headers):
    socket = client.websocket_connect(f"/live?token={token}", headers=headers)
    with pytest.raises(WebSocketDisconnect) as caught, socket:
        pass
    assert caught.value.code == 1008


def test_another_name_for_this_machine_is_refused(client):
    assert client.get("/", params={"token": TOKEN}, headers={"host": "evil.example"}).status_code == 403
    for host in ("localhost:1234", "127.0.0.1:9", "[::1]:80"):
        assert client.get("/", params={"token": TOKEN}, headers={"host": host}).status_code == 200


def test_box_run_and_results(page, client, session, clip):
    assert [page.hello[name] for name in ("width", "height", "first", "last")] == [320, 240, 0, 19]
    page.send(do="place", box=list(clip.boxes[0]))
    page.until(lambda status: status["targets"])
    page.send(do="run")
    last = page.until(lambda status: status["state"] == "done")
    assert last["frame"] == 19
    assert last["fps"] > 0
    assert last["targets"][0]["confidence"] is None  # this bundle is not calibrated
    assert page.pictures >= 2
    records = session.records()
    assert [record.frame_index for record in records] == list(range(20))
    assert overlap(np.array([record.box for record in records]), clip.boxes).min() > 0.7
    table = client.get("/download/boxes.csv", params={"token": TOKEN})
    assert 'filename="clip.boxes.csv"' in table.headers["content-disposition"]
    assert len(list(csv.DictReader(io.StringIO(table.text)))) == 20
    assert len(client.get("/download/boxes.coco.json", params={"token": TOKEN}).json()["annotations"]) == 20
    video = client.get("/download/video.mp4", params={"token": TOKEN}).content
    import av

    with av.open(io.BytesIO(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_a_run_may_begin_and_end_in_the_middle(tiny_bundle, clip):
    session = Session(str(clip.video), Tracker(tiny_bundle, threads=1), 4, 11)
    with (
        TestClient(make_app(session, TOKEN), base_url=HOST) as client,
        client.websocket_connect(f"/live?token={TOKEN}", headers=ORIGIN) as socket,
    ):
        page = Page(socket)
        assert (page.hello["first"], page.hello["last"]) == (4, 11)
        page.send(do="place", box=list(clip.boxes[4]))
        page.send(do="run")
        page.until(lambda status: status["state"] == "done")
    assert [record.frame_index for record in session.records()] == list(range(4, 12))
    session.seek(6)
    assert session.frame.index == 6
    session.close()


def test_a_page_that_comes_later_or_again_gets_everything(page, client, clip):
    page.send(do="place", box=list(clip.boxes[0]))
    page.send(do="run")
    page.until(lambda status: status["state"] == "done")
    with client.websocket_connect(f"/live?token={TOKEN}", headers=ORIGIN) as socket:
        status = Page(socket).until(lambda status: True)
    assert [moment[0] for moment in status["moments"]] == list(range(20))


def test_a_page_that_leaves_ends_nothing(client, session, clip):
    with client.websocket_connect(f"/live?token={TOKEN}", headers=ORIGIN) as socket:
        page = Page(socket)
        page.send(do="place", box=list(clip.boxes[0]))
        page.until(lambda status: status["targets"])
        page.send(do="run")
        page.until(lambda status: status["state"] in ("running", "done"))
    wait(lambda: session.state == "done")
    assert len(session.records()) == 20


def wait(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_going_back_redrawing_and_going_on(session, clip):
    session.place(clip.boxes[0])
    second = session.place([200.0, 150.0, 40.0, 40.0])
    session.run()
    wait(lambda: session.state == "done")
    before = session.records()
    session.seek(8)
    assert (session.state, session.frame.index) == ("paused", 8)
    assert session.records() == [record for record in before if record.frame_index <= 8]
    session.run()
    wait(lambda: session.state == "done")
    assert session.records() == before  # states were kept: nothing drawn anew, nothing changed
    session.seek(8)
    session.remove(second)
    session.place([190.0, 140.0, 40.0, 40.0], 1)
    session.run()
    wait(lambda: session.state == "done")
    after = session.records()
    assert after[:16] == before[:16]
    assert [record.target for record in after[16:]] == [1] * 12
    assert after[16].box == (190.0, 140.0, 40.0, 40.0)


def test_pause_loses_no_picture(session, clip):
    session.place(clip.boxes[0])
    for _ in range(5):
        session.run()
        session.pause()
    session.run()
    wait(lambda: session.state == "done")
    assert [record.frame_index for record in session.records()] == list(range(20))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a command"),
        ("{", "not a command"),
        ("[]", "not a command"),
        ('{"do": "explode"}', "not a command: do"),
        ('{"do": "run", "more": 1}', "not a command: more"),
        ('{"do": "place", "box": [1, 2, 3]}', "not a command: box"),
        ('{"do": "place", "box": [1, 2, 3, NaN]}', "not a command: box"),
        ('{"do": "place", "box": [1, 2, 3, 1e999]}', "not a command"),
        ('{"do": "place", "box": ["1", 2, 3, 4]}', "not a command: box"),
        ('{"do": "place"}', "a box is missing"),
        ('{"do": "place", "box": [400, 2, 30, 40]}', "outside the frame 320x240"),
        ('{"do": "place", "box": [10, 20, 0, 40]}', "no area"),
        ('{"do": "place", "box": [10, 20, 30, 40], "target": 9}', "no target 9"),
        ('{"do": "seek", "frame": -1}', "not a command: frame"),
        ('{"do": "seek", "frame": 5}', "nothing was tracked there"),
        ('{"do": "run"}', "no target yet"),
        ("[" * 5000, "not a command"),
    ],
)
def test_nonsense_is_answered_and_the_run_goes_on(page, clip, text, says):
    page.socket.send_text(text)
    assert says in page.error()
    page.send(do="place", box=list(clip.boxes[0]))
    assert page.until(lambda status: status["targets"])["type"] == "status"


def test_bytes_are_no_command(page):
    page.socket.send_bytes(b"\0\1")
    assert "text" in page.error()


def test_no_more_targets_than_a_page_follows(session):
    for number in range(64):
        session.place([10.0 + number, 20.0, 30.0, 40.0])
    with pytest.raises(UsageError, match="64 targets"):
        session.place([10.0, 20.0, 30.0, 40.0])


def test_nothing_to_download_yet(client):
    answer = client.get("/download/boxes.csv", params={"token": TOKEN})
    assert (answer.status_code, answer.text) == (409, "nothing was tracked yet\n")


def test_video_that_breaks_off_keeps_what_was_found(page, tiny_bundle, clip, tmp_path):
    cut = tmp_path / "cut.mkv"
    import small_clips

    small_clips.write_clip(cut, frames=40)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 7 // 10])
    session = Session(str(cut), Tracker(tiny_bundle, threads=1))
    session.place([20.0, 40.0, 30.0, 30.0])
    session.run()
    wait(lambda: session.state == "failed")
    assert "damaged or cut short" in session.message
    assert len(session.records()) > 5
    session.seek(3)
    assert session.state == "paused"
    session.close()


def test_video_that_is_none(tiny_bundle, tmp_path):
    with pytest.raises(SourceError):
        Session(str(tmp_path / "nowhere.mp4"), Tracker(tiny_bundle, threads=1))


def test_port_in_use_and_foreign_address():
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UsageError, match=r"--port"):
            bind("127.0.0.1", port)
    with pytest.raises(UsageError, match=r"can't serve on 192\.0\.2\.1"):
        bind("192.0.2.1", 0)


def test_tokens_are_long_and_never_the_same():
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 24


@pytest.fixture
def served(session):
    """The real server on a real port: the page's address and a function that opens its socket."""
    connect = pytest.importorskip("websockets.sync.client").connect
    with bind("127.0.0.1", 0) as listener:
        server = make_server(session, TOKEN, "127.0.0.1")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        page = address(listener, "127.0.0.1", TOKEN)
        live = page.replace("http", "ws", 1).replace("/?", "/live?")
        yield lambda **options: connect(live, origin=page.split("/?")[0], open_timeout=30, **options)
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


def told(socket):
    """What the server says next that is no picture."""
    while not isinstance(message := socket.recv(timeout=30), str):
        pass
    return json.loads(message)


def test_message_that_is_too_large_ends_that_page_and_nothing_else(served, session, clip):
    closed = pytest.importorskip("websockets.exceptions").ConnectionClosedError
    with served() as socket:
        socket.send('{"do": "run", "x": "' + "a" * MAX_MESSAGE_BYTES + '"}')
        with pytest.raises(closed, match="1009"):
            list(socket)
    with served() as socket:
        assert told(socket)["type"] == "hello"
        socket.send(json.dumps({"do": "place", "box": list(clip.boxes[0])}))
        wait(lambda: session.records())


def test_a_browser_that_is_cut_off_ends_nothing(served, session, clip):
    with served() as page:
        page.send(json.dumps({"do": "place", "box": list(clip.boxes[0])}))
        wait(lambda: session.records())
        page.send(json.dumps({"do": "run"}))
        wait(lambda: session.state != "choosing")
        # No farewell: the next packet is answered with a reset, as by a machine that was switched off.
        page.socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        page.socket.close()
    wait(lambda: session.state == "done")
    with served() as page:
        assert told(page)["type"] == "hello"
        assert [moment[0] for moment in told(page)["moments"]] == list(range(20))


def test_a_browser_that_reads_nothing_holds_up_nobody(served, session, clip):
    with served(max_queue=1, close_timeout=0.2) as asleep, served() as awake:
        asleep.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
        awake.send(json.dumps({"do": "place", "box": list(clip.boxes[0])}))
        wait(lambda: session.records())
        for _ in range(5):
            awake.send(json.dumps({"do": "run"}))
            while (status := told(awake)).get("state") != "done":
                pass
            assert status["frame"] == 19
            awake.send(json.dumps({"do": "seek", "frame": 0}))
            while (status := told(awake)).get("state") != "paused":
                pass
    wait(lambda: not session._listeners)


def test_two_pages_show_the_same(served, session, clip):
    with served() as one, served() as other:
        one.send(json.dumps({"do": "place", "box": list(clip.boxes[0])}))
        while not (status := told(other)).get("targets"):
            pass
        assert status["targets"][0]["box"] == list(clip.boxes[0])


def test_two_hundred_targets_are_too_many_and_the_first_stay(served, session, clip):
    with served() as page:
        for number in range(200):
            page.send(json.dumps({"do": "place", "box": [10.0 + number, 20.0, 30.0, 40.0]}))
        refused = 0
        while refused < 136:
            message = told(page)
            if message["type"] == "error":
                assert "64 targets are the most" in message["message"]
                refused += 1
    assert [record.target for record in session.records()] == list(range(1, 65))
