"""TraX spoken on both sides by the vot-trax package, and by the VOT toolkit itself where there is one."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("trax", reason="vot-trax is not installed (trk-engine[trax])")

from trk.bench.peers import open_peer, peer_spec
from trk.bench.peers_trax import TraxPeer
from trk.engine.tracker import Tracker
from trk.errors import BackendError

from shared import shared_path

PROGRAM = "from trk.cli.trax import main; main()"


def command_line(bundle, *words):
    return [sys.executable, "-c", PROGRAM, "--bundle", str(bundle), "--threads", "1", *words]


def expected(bundle, clip, **options):
    tracker = Tracker(bundle, threads=1, **options)
    tracker.init(clip.frames[0], tuple(clip.boxes[0]))
    return [tracker.update(frame) for frame in clip.frames[1:]]


def test_a_session_gives_the_boxes_and_scores_of_the_tracker(clip, tiny_trk):
    peer = open_peer(peer_spec(f"command:{shlex.join(command_line(tiny_trk))}"))
    wanted = expected(tiny_trk, clip)
    try:
        for _ in range(2):  # a new target is a new session
            peer.init(clip.frames[0], tuple(clip.boxes[0]))
            for frame, right in zip(clip.frames[1:8], wanted, strict=False):
                found = peer.update(frame)
                np.testing.assert_allclose(found.box, right.box, atol=1e-3)  # text with a few digits
                assert found.score == pytest.approx(right.score, rel=1e-3)
    finally:
        peer.close()


def test_files_and_encoded_images_and_polygons_are_understood(clip, tiny_trk):
    from trax.client import Client
    from trax.image import BufferImage, FileImage
    from trax.region import Polygon

    paths = sorted(clip.folder.iterdir())
    x, y, w, h = clip.boxes[0]
    corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    words = command_line(tiny_trk, "--set", "window_influence=0.3")
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        client = Client((process.stdin.fileno(), process.stdout.fileno()), log=lambda line: None)
        assert client.tracker_name == "trk"
        assert set(client.region_formats) == {"rectangle", "polygon"}
        client.initialize({"color": FileImage.create(str(paths[0]))}, [(Polygon.create(corners), {})], {})
        sent = [FileImage.create(str(paths[1])), BufferImage.create(paths[2].read_bytes())]
        found = [client.frame({"color": image}, {}, [])[0][0] for image in sent]
        wanted = expected(tiny_trk, clip, params={"window_influence": 0.3})
        for (region, properties), right in zip(found, wanted, strict=False):
            np.testing.assert_allclose(region.bounds(), right.box, atol=1e-3)
            assert float(properties["confidence"]) == pytest.approx(right.score, rel=1e-3)
        client.quit()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_program_that_dies_is_told_and_can_be_started_again(clip, tiny_trk):
    peer = TraxPeer(command_line(tiny_trk))
    peer.init(clip.frames[0], tuple(clip.boxes[0]))
    peer._process.kill()
    with pytest.raises(BackendError, match="stopped answering"):
        peer.update(clip.frames[1])
    peer.init(clip.frames[0], tuple(clip.boxes[0]))
    assert np.isfinite(peer.update(clip.frames[1]).box).all()
    peer.close()


def test_a_client_whose_program_died_is_freed_while_its_logger_lives(clip, tiny_trk):
    import trax

    def handles():
        return [ref for ref in trax._finalize_refs.values() if hasattr(ref.item.contents, "metadata")]

    peer = TraxPeer(command_line(tiny_trk))
    peer.init(clip.frames[0], tuple(clip.boxes[0]))
    client, before = peer._client, len(handles())
    peer._process.kill()
    with pytest.raises(BackendError, match="stopped answering"):
        peer.update(clip.frames[1])
    # Left to the end of the process, it would write to a logger that has gone: a segmentation fault.
    assert len(handles()) == before - 1
    assert client._handle is None
    peer.close()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["no-such-program"], "can't be started"),
        ([sys.executable, "-c", "print('hello')"], "stopped answering"),
    ],
)
def test_what_does_not_speak_trax_is_told(clip, words, expected):
    with pytest.raises(BackendError, match=expected):
        TraxPeer(words).init(clip.frames[0], tuple(clip.boxes[0]))


STACK = """
title: Local
experiments:
  resets:
    type: supervised
    repetitions: 1
    skip_initialize: 5
    analyses:
      - type: supervised_average_ar
        sensitivity: 30
      - type: supervised_eao_score
        low: 20
        high: 60
  anchors:
    type: multistart
    analyses:
      - type: multistart_average_ar
      - type: multistart_eao_score
        low: 20
        high: 60
"""
SEQUENCES = ("DragonBaby", "car-roundabout")


@pytest.mark.slow
def test_the_vot_toolkit_drives_a_bundle_by_resets_and_by_anchors(tmp_path):
    """The official toolkit is GPL and stays a program of its own: TRK_VOT names it, or it is `vot` on the path.

    Seen to work: vot-toolkit 0.7.3 with attributee 0.1.9, in an environment of its own.
    """
    vot = os.environ.get("TRK_VOT") or shutil.which("vot")
    if not vot:
        pytest.skip("no vot-toolkit (pip install it in an environment of its own and set TRK_VOT to its `vot`)")
    sources = {name: shared_path("sequences", name) for name in SEQUENCES}
    bundle = tmp_path / "nano.trk"
    weights = shared_path("nanotrack", "nanotrackv2.npz")
    export = "from trk.cli.export import main; main()"
    words = ["--model", "nanotrack", "--variant", "v2", "--weights", str(weights), "--out", str(bundle)]
    subprocess.run([sys.executable, "-c", export, *words], check=True, capture_output=True)
    workspace(tmp_path, sources, bundle)
    for verb in (["evaluate"], ["analysis", "--format", "json"]):
        done = subprocess.run([vot, *verb, "--workspace", ".", "trk"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "trk" in {path.name for path in (tmp_path / "results").iterdir()}
    numbers = results_of(tmp_path)
    for experiment in ("resets", "anchors"):
        accuracy, robustness, eao = numbers[experiment]
        assert 0.5 < accuracy < 1, numbers
        assert robustness >= 0
        assert 0.3 < eao < 1, numbers


def workspace(place: Path, sources: dict[str, Path], bundle: Path) -> None:
    """A VOT workspace of local sequences, the tracker being what trk-trax is."""
    (place / "stack.yaml").write_text(STACK)
    (place / "config.yaml").write_text("stack: ./stack.yaml\nregistry:\n  - ./trackers.ini\n")
    program = place / "trk-trax"
    program.write_text(f"#!/bin/sh\nexec {shlex.join(command_line(bundle))}\n")
    program.chmod(0o755)
    (place / "trackers.ini").write_text(f"[trk]\nlabel = trk\nprotocol = trax\ncommand = {program}\n")
    (place / "results").mkdir()
    for name, source in sources.items():
        folder = place / "sequences" / name
        folder.mkdir(parents=True)
        (folder / "color").symlink_to(source)
        truth = (source / "groundtruth.txt").read_text()
        (folder / "groundtruth.txt").write_text(truth)
        (folder / "sequence").write_text(f"name={name}\nfps=25\nchannels.color=color/%08d.jpg\nformat=default\n")
        frames = len(truth.splitlines())
        anchors = ["0"] * frames
        anchors[::25] = ["1" if number <= frames // 2 else "-1" for number in range(0, frames, 25)]
        (folder / "anchor.value").write_text("\n".join(anchors) + "\n")
    (place / "sequences" / "list.txt").write_text("\n".join(sources) + "\n")


def results_of(place: Path) -> dict[str, tuple[float, float, float]]:
    """Accuracy, robustness and EAO of each experiment in the toolkit's report."""
    (path,) = (place / "analysis").glob("*.json")
    found = {}
    for name, experiment in json.loads(path.read_text())["results"].items():
        ((accuracy, robustness, *_),), ((eao,),) = experiment["results"]
        found[name] = accuracy, robustness, eao
    return found
