"""A teacher answers as the tracker that was named, never learns, and is refused where its maps mean something else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from random_networks import network
from tiny import TINY, TINY_ANCHORS, TINY_POINTS, seeded

from trk.engine.bundle import Bundle
from trk.engine.manifest import Weights
from trk.errors import TrkError, UsageError
from trk.export.bundle import export_bundle
from trk.export.weights import choose
from trk.models.lightfc import LightFC
from trk.models.network import SiameseNet
from trk.models.registry import find
from trk.models.row import Row
from trk.train.teacher import BundleNet, Teacher, read_teacher
from trk.weights.checkpoint import write_safetensors

LIGHTFC, SLIM = find("lightfc"), find("slimfc")
KNOWN = Weights(origin="checkpoint", file="tiny", licence="none: random numbers")


@pytest.fixture(scope="module")
def lightfc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights."""
    path = tmp_path_factory.mktemp("teacher") / "lightfc.safetensors"
    write_safetensors(path, network("lightfc").state_dict(), {"model": LIGHTFC.name})
    return path


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def _crops(row: Row, count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Template and search crops of whole grey levels, as pictures have, and the sizes of their targets."""
    generator = torch.Generator().manual_seed(1)
    sides = row.geometry.get("template_size", 127), row.searches[0].size
    z, x = (torch.randint(0, 256, (count, 3, side, side), generator=generator).float() for side in sides)
    return z, x, torch.tensor([[40.0, 60.0], [50.0, 30.0]])[:count]


def _apart(teacher: Teacher, net: SiameseNet, row: Row) -> float:
    """The largest difference of their maps, over the largest value of each."""
    z, x, size = _crops(row)
    theirs = teacher.net.search(x, *teacher.net.kernels(z, size))
    ours = net.eval().search(x, *net.kernels(z, size))
    assert len(theirs) == len(net.map_names)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(theirs, ours, strict=True))


def test_weights_in_a_file_answer_as_the_tracker_that_they_are_of(lightfc: Path) -> None:
    teacher = read_teacher(str(lightfc), SLIM)
    assert teacher.row is LIGHTFC
    assert _apart(teacher, network("lightfc").tracked(), LIGHTFC) < 1e-4
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in teacher.featured.modules())  # type: ignore[attr-defined]


def test_features_and_maps_apart_are_those_of_the_whole(lightfc: Path) -> None:
    teacher = read_teacher(str(lightfc), SLIM)
    z, x, size = _crops(LIGHTFC, 1)
    parts = teacher.featured.maps(teacher.featured.features(x), teacher.featured.features(z))
    whole = teacher.net.search(x, *teacher.net.kernels(z, size))
    assert all(torch.equal(part, one) for part, one in zip(parts, whole, strict=True))


def test_a_row_that_ships_its_weights_needs_no_file() -> None:
    row = find("siamrpnpp", "light")
    teacher = read_teacher("siamrpnpp/light", row)
    _, net, _ = choose("siamrpnpp", "light", None)
    assert _apart(teacher, net, row) < 1e-4
    with pytest.raises(UsageError, match="siamrpnpp/light has none here"):
        _ = teacher.featured


@pytest.mark.parametrize("row", [TINY_ANCHORS, TINY_POINTS], ids=["anchors", "points"])
def test_a_bundle_with_its_maps_answers_as_the_network_that_it_was_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Row
) -> None:
    net = seeded(3, row)
    with torch.enable_grad():
        export_bundle(row, tmp_path / "tiny.trk", net, KNOWN, maps=True)
    monkeypatch.setattr("trk.train.teacher.find", lambda model, variant: row)
    teacher = read_teacher(str(tmp_path / "tiny.trk"), row)
    assert _apart(teacher, net, row) < 1e-4
    assert teacher.row.channels == "BGR"
    with pytest.raises(UsageError, match="want a teacher with features"):
        _ = teacher.featured


@pytest.mark.slow
@pytest.mark.parametrize(("model", "variant"), [("lightfc", None), ("siamrpnpp", "light")])
def test_a_models_bundle_answers_as_its_weights(tmp_path: Path, model: str, variant: str | None) -> None:
    row = find(model, variant)
    net = network("lightfc") if model == "lightfc" else choose(model, variant, None)[1]
    with torch.enable_grad():
        export_bundle(row, tmp_path / "teacher.trk", net, KNOWN, maps=True)
    teacher = read_teacher(str(tmp_path / "teacher.trk"), row)
    z, x, size = _crops(row)
    theirs = teacher.net.search(x, *teacher.net.kernels(z, size))
    z, x = (part.flip(1) if row.channels == "RGB" else part for part in (z, x))
    net = net.eval().tracked()
    for one, other in zip(theirs, net.search(x, *net.kernels(z, size)), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def test_a_teacher_neither_learns_nor_changes(lightfc: Path) -> None:
    teacher = read_teacher(str(lightfc), SLIM)
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    random = Teacher(LIGHTFC, LightFC().train())
    before = {name: value.clone() for name, value in random.state_dict().items()}
    random.train(True)
    z, x, size = _crops(LIGHTFC)
    with torch.enable_grad():
        maps = random.net.search(x, *random.net.kernels(z, size))
    assert not any(part.requires_grad for part in maps)
    assert all(torch.equal(value, before[name]) for name, value in random.state_dict().items())


@pytest.mark.parametrize(
    ("student", "said"),
    [
        (find("nanotrack", "v2"), "whose maps are no lesson for nanotrack/v2: take one of its kind"),
        (find("slimfc", "small"), "whose crops show another region than those of slimfc/small"),
    ],
    ids=["maps", "crops"],
)
def test_a_teacher_of_another_kind_is_refused(lightfc: Path, student: Row, said: str) -> None:
    _refused(str(lightfc), student, said)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nothing", "no file is there, and trk knows no model 'nothing'"),
        ("runs/none.pth", "no file is there, and trk knows no model 'runs'"),
        ("lightfc/none", "no file is there, and model lightfc has no variant 'none'"),
        ("lightfc", "lightfc/mobilenetv2 ships no weights: name a file of them"),
        ("none.trk", "none.trk"),
    ],
)
def test_a_teacher_that_is_not_there_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _refused(named, SLIM, said)


def test_a_damaged_file_is_told_in_one_line(tmp_path: Path, lightfc: Path) -> None:
    (tmp_path / "half.safetensors").write_bytes(lightfc.read_bytes()[:5000])
    _refused(str(tmp_path / "half.safetensors"), SLIM, "half.safetensors")


def test_a_bundle_without_maps_is_refused(tiny_trk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trk.train.teacher.find", lambda model, variant: TINY)
    _refused(str(tiny_trk), TINY, "keeps its maps to itself: export it with --maps")


def test_a_bundle_with_weights_in_a_file_of_their_own_is_refused(long_bundle: Path) -> None:
    with pytest.raises(UsageError, match="keeps weights in files of their own: export it anew"):
        BundleNet(Bundle(long_bundle), ())


def _refused(named: str, student: Row, said: str) -> None:
    with pytest.raises(TrkError) as raised:
        read_teacher(named, student)
    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
