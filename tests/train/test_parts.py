"""Parameters from files: all of a network's, or those of a part."""

from pathlib import Path

import pytest
import torch
from tiny import TINY_ANCHORS, seeded

from trk.errors import CheckpointError
from trk.models.network import SiameseNet
from trk.train.parts import load_parts, read_parts
from trk.weights.checkpoint import write_safetensors


def _loaded(net: SiameseNet, other: SiameseNet) -> set[str]:
    """The names of the modules whose parameters `net` has of `other`."""
    ours, theirs = net.state_dict(), other.state_dict()
    return {name.partition(".")[0] for name, value in ours.items() if torch.equal(value, theirs[name])}


ALL = {"project", "mix", "cls", "loc"}


def _nets() -> tuple[SiameseNet, SiameseNet]:
    return seeded(1, TINY_ANCHORS), seeded(2, TINY_ANCHORS)


def test_a_file_fills_what_it_has_and_a_part_that_alone(tmp_path: Path) -> None:
    net, other = _nets()
    assert _loaded(net, other) == set()
    write_safetensors(tmp_path / "all.safetensors", other.state_dict())
    load_parts(net, f"mix={tmp_path / 'all.safetensors'}")
    assert _loaded(net, other) == {"mix"}
    load_parts(net, str(tmp_path / "all.safetensors"))
    assert _loaded(net, other) == ALL


def test_a_runs_checkpoint_gives_its_average_and_a_snapshot_what_it_holds(tmp_path: Path) -> None:
    net, other = _nets()
    torch.save({"net": net.state_dict(), "average": other.state_dict(), "step": 1}, tmp_path / "latest.pt")
    torch.save({"net": other.state_dict(), "step": 1}, tmp_path / "00000001.pt")
    for name in ("latest.pt", "00000001.pt"):
        fresh = seeded(3, TINY_ANCHORS)
        load_parts(fresh, str(tmp_path / name))
        assert _loaded(fresh, other) == ALL


@pytest.mark.parametrize("part", ["", "cls="])
def test_a_path_may_hold_an_equals_sign(tmp_path: Path, part: str) -> None:
    net, other = _nets()
    (tmp_path / "rate=1").mkdir()
    write_safetensors(tmp_path / "rate=1" / "all.safetensors", other.state_dict())
    load_parts(net, f"{part}{tmp_path / 'rate=1' / 'all.safetensors'}")
    assert _loaded(net, other) == ({"cls"} if part else ALL)


def test_parameters_of_another_shape_and_what_is_no_tensor_are_left_out(tmp_path: Path) -> None:
    net, other = _nets()
    state = {**other.state_dict(), "cls.weight": torch.zeros(1), "epoch": 3, "half": torch.ones(2).half()}
    torch.save(state, tmp_path / "mixed.pt")
    load_parts(net, str(tmp_path / "mixed.pt"))
    assert _loaded(net, other) == ALL
    assert not torch.equal(net.state_dict()["cls.weight"], other.state_dict()["cls.weight"])
    assert read_parts(tmp_path / "mixed.pt")["half"].dtype == torch.float32


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("gone.safetensors", "can't be read"),
        ("text.pt", "can't be read"),
        ("other.safetensors", "has no parameter of this model: is it another's?"),
        ("trunk=all.safetensors", "has no parameter of this model in trunk: is it another's?"),
    ],
)
def test_a_file_of_no_use_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    net, other = _nets()
    write_safetensors(tmp_path / "all.safetensors", other.state_dict())
    write_safetensors(tmp_path / "other.safetensors", {"weight": torch.ones(2)})
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(CheckpointError) as raised:
        load_parts(net, named)
    assert said in str(raised.value)
    assert _loaded(net, other) == set()
