"""Training from a package: the pairs are those of trk-train, and what a run leaves is read and gone on with."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from train_package import Material

from trk.engine.geometry import Geometry
from trk.errors import SourceError, UsageError
from trk.models.registry import find
from trk.train.augment import Augment, cut
from trk.train.card import WEIGHTS, limited, main
from trk.train.checkpoint import LATEST, load
from trk.train.device_pairs import DevicePairBatches
from trk.train.draws import Pairs, changes
from trk.train.lessons import SEARCH, TEMPLATE, lessons
from trk.train.loop import METRICS
from trk.train.pairs import Sampling
from trk.train.parts import load_parts
from trk.train.pictures import Key, Pictures, count_frames, read_pictures
from trk.train.scale import Scales, square_scales
from trk.train.shards import read_shards
from trk.train.tracks import Box, Frame, Track
from trk.weights.checkpoint import read_checkpoint

ROW = find("slimfc")
GEOMETRY = Geometry.model_validate(ROW.geometry)
SIZE = ROW.searches[0].size
AS_IT_IS = Augment(scale=0.0, colour=0.0, grey=0.0, blur=0.0, noise=0.0)
CPU = torch.device("cpu")


def _nothing(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def piece(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "package"
    assert material.pack(out) == 0
    return out / "piece-1"


def _textures(count: int) -> list[NDArray[np.uint8]]:
    """Pictures with an alpha channel, of different sizes."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(count):
        small = rng.integers(0, 256, (12, 16, 3), np.uint8)
        image = cv2.resize(small, (200 + 30 * number, 150 + 10 * number), interpolation=cv2.INTER_CUBIC)
        images.append(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA), np.uint8))
    return images


def _batches(
    images: list[NDArray[np.uint8]], boxes: list[Box | None], sampling: Sampling, batch: int = 8
) -> DevicePairBatches:
    """Batches of tracks of one picture each."""
    paths = [Path(f"{number}.mp4") for number in range(len(images))]
    frames = [Frame(path, box, None, 0) for path, box in zip(paths, boxes, strict=True)]
    tracks = [Track(str(frame.path), "made", "still", (frame,)) for frame in frames]
    numbers: dict[Key, int] = {(path, 0): number for number, path in enumerate(paths)}
    return DevicePairBatches(tracks, Pictures(images, CPU), numbers, GEOMETRY, SIZE, batch, sampling)


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("box", [(60.0, 50.0, 40.0, 30.0), (-8.3, 5.6, 25.7, 61.2), (150.4, 90.2, 49.0, 59.0)])
def test_crops_are_those_of_trk_train(box: Box, flip: float) -> None:
    images = _textures(1)
    image = images[0][..., :3].copy()
    sampling = Sampling(negative=0.0, flip=flip, template=AS_IT_IS, search=AS_IT_IS)
    batch = _batches(images, [box], sampling, 2).make(0)
    scales, rng = Scales(GEOMETRY, SIZE), np.random.default_rng(0)
    for crops, scale in ((batch.z, scales.template(image, box)), (batch.x, scales.search(image, box))):
        wanted, target = cut(image, box, crops.shape[1], AS_IT_IS, rng, flip=bool(flip), scale=scale, fill=scales.fill)
        assert np.abs(crops[0].numpy().astype(int) - wanted).mean() < 0.5
    assert batch.target[0].numpy() == pytest.approx(target, abs=1e-3)
    assert batch.size[0].numpy() == pytest.approx(np.array(box[2:]) * scales.template(image, box), abs=1e-3)


def test_a_shifted_scaled_crop_shows_its_target_where_it_says() -> None:
    image = np.zeros((200, 300, 4), np.uint8)
    box = (120.0, 70.0, 40.0, 50.0)
    image[70:120, 120:160] = 255
    sampling = Sampling(
        negative=0.0, flip=0.5, template=AS_IT_IS, search=Augment(60, 0.5, 0.35, colour=0, grey=0, blur=0, noise=0)
    )
    batch = _batches([image], [box], sampling, 16).make(3)
    for crop, target in zip(batch.x.numpy(), batch.target.numpy(), strict=True):
        rows, columns = np.nonzero(crop[..., 0] > 127)
        sides = np.array([np.ptp(columns), np.ptp(rows)]) + 1
        middle = np.array([columns.min() + columns.max(), rows.min() + rows.max()]) / 2 - (SIZE - 1) / 2
        assert middle == pytest.approx(target[:2], abs=0.6)
        assert sides == pytest.approx(target[2:], abs=1.1)
    assert batch.target[:, 0].std() > 10
    assert batch.target[:, 2].std() > 5


def test_scales_of_many_targets_are_those_of_each() -> None:
    rng = np.random.default_rng(2)
    sides = rng.uniform(5, 300, (20, 2))
    scales, image = Scales(GEOMETRY, SIZE), np.zeros((480, 854, 3), np.uint8)
    for size, scale in zip(sides, square_scales(GEOMETRY, sides), strict=True):
        box = (10.0, 10.0, float(size[0]), float(size[1]))
        assert scales.template(image, box) == pytest.approx((scale, scale))
        assert scales.search(image, box) == pytest.approx((scale, scale))


def test_pairs_are_drawn_as_asked_for() -> None:
    boxed = tuple(Frame(Path("a.mp4"), (10.0, 10.0, 20.0 + number, 20.0), None, number) for number in range(100))
    bare = tuple(Frame(Path("b.mp4"), None, None, number) for number in range(0, 100, 2))
    tracks = [Track("a", "clips-objects", "video", boxed), Track("b", "clips-shots", "video", bare)]
    numbers: dict[Key, int] = {(frame.path, frame.number): at for at, frame in enumerate((*boxed, *bare))}
    sizes = np.full((150, 2), (320, 240))
    sampling = lessons(tracks, negative=0.25)
    pairs = Pairs(tracks, numbers, sizes, sampling)
    first, second, present = pairs.draw(np.random.default_rng(0), 4000)
    assert present.mean() == pytest.approx(0.75, abs=0.02)
    assert ((first.pictures < 100) == (second.pictures < 100)).tolist() == present.tolist()
    assert (first.pictures < 100).mean() == pytest.approx(0.5, abs=0.03)
    gap = (second.pictures - first.pictures)[present & (first.pictures < 100)]
    assert (gap.min(), gap.max()) == (-sampling.gap, sampling.gap)
    assert abs(gap.mean()) < 2
    regional = present & (first.pictures >= 100)
    gap = 2 * (second.pictures - first.pictures)[regional]
    assert np.abs(gap).max() == sampling.region_gap - sampling.region_gap % 2
    assert first.boxes[regional] == pytest.approx(second.boxes[regional])
    ends = first.boxes[regional, :2] + first.boxes[regional, 2:]
    assert (first.boxes[regional, :2] >= 0).all()
    assert (ends <= (320, 240)).all()
    assert first.boxes[first.pictures == 7][0].tolist() == [10.0, 10.0, 27.0, 20.0]


def test_changes_come_as_often_and_as_far_as_their_rule_says() -> None:
    count = 4000
    drawn = changes(SEARCH, np.random.default_rng(0), count, SIZE)
    assert np.abs(np.log(drawn.zoom)).max() == pytest.approx(np.log(1 + SEARCH.scale), abs=0.01)
    near = SEARCH.near * 2 * 0.341 + (1 - SEARCH.near) / 7  # within a seventh of the largest shift
    assert (np.abs(drawn.shift[:, 0]) < SEARCH.shift / 7).mean() == pytest.approx(near, abs=0.03)
    assert (drawn.gain != 1).any(1).mean() == pytest.approx(SEARCH.colour, abs=0.03)
    assert drawn.grey.mean() == pytest.approx(SEARCH.grey, abs=0.02)
    assert (drawn.noise > 0).mean() == pytest.approx(SEARCH.noise, abs=0.02)
    assert (len(drawn.coarse) + len(drawn.smear)) / count == pytest.approx(SEARCH.blur, abs=0.02)
    assert len(drawn.coarse) / (len(drawn.coarse) + len(drawn.smear)) == pytest.approx(0.4, abs=0.06)
    template = changes(TEMPLATE, np.random.default_rng(0), count, 128)
    assert np.abs(template.shift).max() <= TEMPLATE.shift


def test_half_of_the_pairs_are_flipped_both_crops_alike() -> None:
    image = _textures(1)[0]
    image[:, :100, :3], image[:, 100:, :3] = 0, 255
    sampling = Sampling(negative=0.0, flip=0.5, template=AS_IT_IS, search=AS_IT_IS)
    batch = _batches([image], [(80.0, 60.0, 40.0, 40.0)], sampling, 64).make(0)
    flipped = [crops[:, 64, 20, 0] > 127 for crops in (batch.z, batch.x[:, 64:192, 64:192])]
    assert torch.equal(*flipped)
    assert 16 < int(flipped[0].sum()) < 48


@pytest.mark.parametrize("name", ["blur", "colour", "grey", "noise"])
def test_a_change_does_to_crops_what_it_does_in_trk_train(name: str) -> None:
    """By the mean and the sharpness of many crops: the numbers drawn are others."""
    images, box = _textures(1), (60.0, 50.0, 60.0, 50.0)
    rule = Augment(scale=0.0, **{"blur": 0.0, "colour": 0.0, "grey": 0.0, "noise": 0.0, name: 1.0})
    ours = _batches(images, [box], Sampling(negative=0.0, template=rule, search=rule), 48).make(0).x.numpy()
    image, rng = images[0][..., :3].copy(), np.random.default_rng(1)
    scale = Scales(GEOMETRY, SIZE).search(image, box)
    theirs = np.stack([cut(image, box, SIZE, rule, rng, scale=scale, fill=(0, 0, 0))[0] for _ in range(48)])
    for measure in (_brightness, _sharpness, _colourfulness):
        assert measure(ours) == pytest.approx(measure(theirs), rel=0.2, abs=0.6)


def _brightness(crops: NDArray[np.uint8]) -> float:
    return float(crops.mean())


def _sharpness(crops: NDArray[np.uint8]) -> float:
    return float(np.abs(np.diff(crops.astype(float), axis=2)).mean())


def _colourfulness(crops: NDArray[np.uint8]) -> float:
    return float(crops.astype(float).std(3).mean())


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    sampling = Sampling(negative=0.0, template=TEMPLATE, search=SEARCH)
    one, other = (_batches(_textures(3), [(60.0, 50.0, 40.0, 30.0)] * 3, sampling) for _ in range(2))
    one.next()
    other.restore(one.state())
    assert all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(one.next(), other.next(), strict=True)
    )
    assert not torch.equal(one.make(0).x, one.make(1).x)


@pytest.mark.parametrize("change", [{"rotation": 20.0}, {"occlusion": 0.1}, {"aspect": 0.2}, {"distractor": 0.1}])
def test_changes_that_are_not_made_here_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="not turned, stretched or covered"):
        _batches(_textures(1), [None], Sampling(search=Augment(**change)))


def test_a_model_whose_crops_are_others_is_refused() -> None:
    tracks: list[Track] = []
    sampling = Sampling(template=AS_IT_IS, search=AS_IT_IS)
    with pytest.raises(UsageError, match="not black"):
        DevicePairBatches(tracks, Pictures(_textures(1), CPU), {}, Geometry(), 255, 2, sampling)
    with pytest.raises(SourceError, match="no track has a picture"):
        DevicePairBatches(tracks, Pictures(_textures(1), CPU), {}, GEOMETRY, SIZE, 2, sampling)


def test_pictures_are_those_of_the_files(material: Material) -> None:
    clip = material.clips / "one.mp4"
    count, size = count_frames(clip)
    frames = [Frame(clip, None, None, number) for number in (3, 1, count + 5)]
    frames += [frame for track in read_shards(material.stills) for frame in track.frames]
    pictures, numbers = read_pictures(frames, CPU, _nothing)
    assert len(numbers) == 2 + 4  # a frame past the clip's end is left out
    capture = cv2.VideoCapture(str(clip))
    shown = [capture.read()[1] for _ in range(count)][3]
    number = torch.tensor([numbers[clip, 3]])
    crop = pictures.crops(number, torch.zeros(1, 2), torch.ones(1, 2), size[1])[0].numpy()
    assert np.array_equal(crop, shown[:, : size[1]])


def test_what_is_no_video_is_told(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"nothing")
    with pytest.raises(SourceError, match="no frame that OpenCV can decode"):
        read_pictures([Frame(path, None, None, 0)], CPU, _nothing)


def test_a_limit_keeps_clips_and_tracks_of_every_other_source() -> None:
    def track(name: str, source: str, path: str) -> Track:
        return Track(name, source, "video", (Frame(Path(path), None, None, 0),))

    clips = [track(f"{clip}/{number}", "clips", f"{clip}.mp4") for clip in "cab" for number in range(3)]
    stills = [track(f"{source}{number}", source, "x.zip") for source in ("m", "n") for number in range(5)]
    kept = {one.name for one in limited([*clips, *stills], 2)}
    assert kept == {f"{clip}/{number}" for clip in "ab" for number in range(3)} | {"m0", "m1", "n0", "n1"}
    assert limited(clips, None) == clips


def _train(piece: Path, out: Path, *more: str) -> int:
    given = [str(piece), "--device", "cpu", "--batch", "2", "--minutes", "0.0001", "--threads", "1", "--out", str(out)]
    return main([*given, *more])


def test_a_run_leaves_a_checkpoint_and_weights_that_are_read(piece: Path, tmp_path: Path) -> None:
    out, net = tmp_path / "out", ROW.build()
    assert _train(piece, out) == 0
    state = load(out / LATEST)
    assert state["step"] >= 1
    load_parts(net, str(out / LATEST))
    load_parts(net, f"trunk={out / LATEST}")
    read = read_checkpoint(out / WEIGHTS)
    assert read.about["model"] == ROW.name
    for name, value in read.tensors.items():
        assert torch.allclose(value.float(), state["average"][name], rtol=2e-3, atol=1e-6)
    assert sum(path.stat().st_size for path in out.iterdir()) < 16 * 2**20
    assert {path.name for path in out.iterdir()} == {LATEST, WEIGHTS, METRICS}


def test_a_paused_run_goes_on(piece: Path, tmp_path: Path) -> None:
    first, more = tmp_path / "first", tmp_path / "more"
    assert _train(piece, first, "--minutes", "60", "--stop", "0.0001") == 0
    before = load(first / LATEST)
    assert before["step"] == 1
    given = ["--minutes", str(before["seconds"] / 60 + 0.0001), "--resume", str(first / LATEST)]
    assert _train(piece, more, *given, "--stage", "both") == 0
    after = load(more / LATEST)
    assert after["step"] == 2
    assert after["batches"] == {"count": 2}
    name = "trunk.stem.0.weight"
    assert not torch.equal(before["net"][name], after["net"][name])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--minutes", "0"], "more than 0"),
        (["--batch", "1"], "2 pairs at least"),
        (["--resume", "missing.pt"], "no checkpoint at missing.pt"),
        (["--device", "cuda"], "no CUDA device"),
    ],
)
def test_what_can_not_be_trained_is_told_in_one_line(
    more: list[str], said: str, piece: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if more == ["--device", "cuda"] and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    assert _train(piece, tmp_path / "out", *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_run_is_not_written_over(piece: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / LATEST).write_bytes(b"")
    assert _train(piece, tmp_path) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_refused(
    piece: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"step": 1, "net": {}}, tmp_path / "other.pt")
    assert _train(piece, tmp_path / "out", "--resume", str(tmp_path / "other.pt")) == 2
    assert "other.pt does not fit this model" in capsys.readouterr().err
