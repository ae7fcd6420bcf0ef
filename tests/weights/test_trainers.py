"""What training programs keep beside the weights is passed over: nothing of it is imported, made or called."""

import pickle
import sys
import typing
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trk.errors import CheckpointError
from trk.models.fear import Fear
from trk.models.lightfc import LightFC
from trk.weights.checkpoint import read_checkpoint
from trk.weights.recognise import load_into, recognise

from shared import shared_module

Write = Callable[[object, Path], None]
WRITERS: dict[str, Write] = {
    "zip": torch.save,
    "pickle": partial(torch.save, _use_new_zipfile_serialization=False),
}
PROGRAMS = ("lib", "easydict", "model_training", "pytorch_lightning", "omegaconf")
"""Packages of which the checkpoints here hold objects."""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that anything would leave that ran."""
    return tmp_path / "ran"


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest) -> Write:
    return WRITERS[request.param]


@pytest.fixture
def trap(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever imports one of PROGRAMS leaves the marker."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(folder)
    __import__("lib")
    assert marker.exists(), "the trap of this test is a dud"
    marker.unlink()
    del sys.modules["lib"]
    yield
    assert not marker.exists()
    assert not {name for name in sys.modules if name.split(".")[0] in PROGRAMS}


def kind(name: str, base: type = object) -> type:
    """Return a class that believes to come from `name`."""
    module, _, own = name.rpartition(".")
    return type(own, (base,), {"__module__": module})


@contextmanager
def importable(*kinds: type) -> Iterator[None]:
    """Have `kinds` where pickle looks for them, and gone from there afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for one in kinds:
            parts = one.__module__.split(".")
            for end in range(1, len(parts) + 1):
                name = ".".join(parts[:end])
                if name not in sys.modules:
                    patch.setitem(sys.modules, name, ModuleType(name))
            setattr(sys.modules[one.__module__], one.__name__, one)
        yield


def made(of: type, *items: object, **attributes: object) -> Any:
    new = of(*items)
    vars(new).update(attributes)
    return new


def assert_fills(path: Path, name: str, source: nn.Module) -> None:
    """The checkpoint at `path` is of the row `name`, whose network it gives the weights of `source`."""
    read = read_checkpoint(path)
    row = recognise(read)
    assert row.name == name
    net = row.build()
    load_into(net, read)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in net.state_dict().items())


SETTINGS = kind("lib.train.admin.settings.Settings")
ENVIRONMENT = kind("lib.train.admin.local.EnvironmentSettings")
METER, VALUE = kind("lib.train.admin.stats.AverageMeter"), kind("lib.train.admin.stats.StatValue")
HISTORY, LOADERS = kind("lib.train.admin.stats.History", list), kind("lib.train.admin.stats.Loaders", dict)
CONFIG = kind("easydict.EasyDict", dict)


@pytest.mark.usefixtures("trap")
def test_lightfc_as_its_trainer_saves_it_is_read(write: Write, tmp_path: Path) -> None:
    net = LightFC()
    first = next(net.parameters())
    optimizer = torch.optim.AdamW([{"params": [first], "lr": np.float64(0.001)}])
    first.grad = torch.ones_like(first)
    optimizer.step()
    meter = made(METER, history=HISTORY([0.5, 0.25]), val=np.float32(0.5))
    settings = made(
        SETTINGS,
        env=made(ENVIRONMENT, workspace_dir="/home/someone", lasot_dir=Path("/data/lasot")),
        device=torch.device("cuda:0"),
        output_sz={"template": 128, "search": 256},
        seen={"train", "val"},
        cast=float,
        cfg=CONFIG(TRAIN=CONFIG(EPOCH=400, LR=np.float64(0.001))),
    )
    content = {
        "epoch": 400,
        "actor_type": "lightTrackActor",
        "net_type": "LightFC",
        "net": net.state_dict(),
        "net_info": None,
        "constructor": None,
        "optimizer": optimizer.state_dict(),
        "stats": LOADERS(train=OrderedDict({"Loss/total": meter, "LearningRate/group0": VALUE()}), val=None),
        "settings": settings,
    }
    path = tmp_path / "LightFC_ep0400.pth.tar"
    with importable(SETTINGS, ENVIRONMENT, METER, VALUE, HISTORY, LOADERS, CONFIG):
        write(content, path)
    assert_fills(path, "lightfc/mobilenetv2", net)


SAVER = kind("model_training.train.callbacks.ModelCheckpointCallback")
STOPPER = kind("pytorch_lightning.callbacks.early_stopping.EarlyStopping")
CONTAINER, NODE = kind("omegaconf.dictconfig.DictConfig"), kind("omegaconf.nodes.AnyNode")
METADATA = kind("omegaconf.base.ContainerMetadata")


@pytest.mark.usefixtures("trap")
def test_fear_as_pytorch_lightning_saves_it_is_read(write: Write, tmp_path: Path) -> None:
    net = Fear()
    unused = shared_module("goldens_light", "golden.py").network("fearxs")[0]["unused_keys"]
    whole = dict(net.state_dict()) | {
        key: torch.zeros(shape, dtype=getattr(torch, kind)) for key, shape, kind in unused
    }
    assert len(whole) == 520
    metadata = made(METADATA, ref_type=typing.Any, object_type=dict, key_type=str, optional=True)
    content = {
        "epoch": 7,
        "global_step": np.int64(70),
        "pytorch-lightning_version": "1.4.9",
        "callbacks": {
            SAVER: {"monitor": "valid/loss", "best_model_score": torch.tensor(0.5), "dirpath": Path("checkpoints")},
            STOPPER: {"wait_count": 0, "best_score": torch.tensor(0.5, dtype=torch.float64)},
        },
        "optimizer_states": [{"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}],
        "state_dict": {f"model.{key}": value for key, value in whole.items()} | {"criterion.weight": torch.ones(2)},
        "hparams_name": "config",
        "hyper_parameters": made(CONTAINER, _metadata=metadata, _parent=None, _content={"lr": made(NODE, _val=0.1)}),
    }
    path = tmp_path / "FEAR-XS-NoEmbs.ckpt"
    with importable(SAVER, STOPPER, CONTAINER, NODE, METADATA):
        write(content, path)
    assert read_checkpoint(path).tensors.keys() == whole.keys()
    assert_fills(path, "fear/xs", net)


STATE: Mapping[str, Tensor] = {"head.weight": torch.arange(6.0).reshape(2, 3)}
PLACE = "the program goes here"


def text(words: str) -> bytes:
    return pickle.BINUNICODE + len(words.encode()).to_bytes(4, "little") + words.encode()


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + pickle.STACK_GLOBAL


def called(function: bytes, *arguments: bytes) -> bytes:
    return function + pickle.MARK + b"".join(arguments) + pickle.TUPLE + pickle.REDUCE


def write_with(program: bytes, write: Write, path: Path) -> None:
    """Write a checkpoint in which `program`, opcodes that leave one object, lies beside weights and settings."""
    with importable(SETTINGS):
        write({"state_dict": dict(STATE), "settings": made(SETTINGS, epoch=1), "extra": PLACE}, path)
    if not zipfile.is_zipfile(path):
        path.write_bytes(path.read_bytes().replace(text(PLACE), program))
        return
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data.replace(text(PLACE), program))


def runs(program: bytes) -> None:
    pickle.loads(pickle.PROTO + b"\x04" + program + pickle.STOP)


def shell(marker: Path) -> bytes:
    return text(f"touch {marker}")


def through_getattr(marker: Path) -> bytes:
    start = named("argparse", "ArgumentParser")
    for name in ("__init__", "__globals__"):
        start = called(named("builtins", "getattr"), start, text(name))
    modules = called(named("operator", "itemgetter"), text("_os"))
    return called(called(named("builtins", "getattr"), called(modules, start), text("system")), shell(marker))


REFUSED: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda marker: called(named("os", "system"), shell(marker)),
    "builtins.eval": lambda marker: called(named("builtins", "eval"), text(f"open({str(marker)!r}, 'w').close()")),
    "builtins.getattr": through_getattr,
    "builtins.__import__": lambda marker: called(
        called(named("operator", "methodcaller"), text("system"), shell(marker)),
        called(named("builtins", "__import__"), text("os")),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_program_beside_settings_is_refused(name: str, write: Write, marker: Path, tmp_path: Path) -> None:
    program = REFUSED[name](marker)
    runs(program)
    assert marker.exists(), "the program of this test is a dud"
    marker.unlink()
    write_with(program, write, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth is refused: it calls ") as caught:
        read_checkpoint(tmp_path / "evil.pth")
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("module", ["lib.trainer", "my.lib.train.admin", "argparse_too", "os.pathlib."])
def test_only_whole_names_of_training_programs_are_passed_over(module: str, write: Write, tmp_path: Path) -> None:
    write_with(called(named(module, "Settings")), write, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=f"refused: it calls {module}.Settings"):
        read_checkpoint(tmp_path / "evil.pth")


@pytest.mark.parametrize(
    ("module", "name", "real"),
    [
        ("argparse", "_os.system", True),
        ("pathlib", "os.system", True),
        ("pathlib.", "os.system", False),
        ("typing", "sys.modules.get", False),
        ("lib.train.admin", "__builtins__.eval", False),
    ],
)
def test_what_a_training_programs_name_leads_to_is_never_reached(
    module: str, name: str, real: bool, write: Write, marker: Path, tmp_path: Path
) -> None:
    program = called(named(module, name), shell(marker))
    if real:
        runs(program)
        assert marker.exists(), "the program of this test is a dud"
        marker.unlink()
    write_with(program, write, tmp_path / "model.pth")
    tensors = read_checkpoint(tmp_path / "model.pth").tensors
    assert tensors.keys() == STATE.keys()
    assert all(torch.equal(value, STATE[key]) for key, value in tensors.items())
    assert not marker.exists()
    assert "lib.train.admin" not in sys.modules


@pytest.mark.parametrize(
    "put",
    [
        pickle.EMPTY_DICT + pickle.BUILD,
        text("key") + text("value") + pickle.SETITEM,
        text("item") + pickle.APPEND,
        pickle.MARK + text("item") + pickle.APPENDS,
    ],
    ids=["state", "entry", "item", "items"],
)
def test_what_is_put_into_a_thing_passed_over_changes_no_other(put: bytes, write: Write, tmp_path: Path) -> None:
    write_with(called(named("lib.train.admin", "Settings")) + put, write, tmp_path / "model.pth")
    assert read_checkpoint(tmp_path / "model.pth").tensors.keys() == STATE.keys()
    # Into the class itself nothing can be put: that is an error of one line, and the class stays as it was.
    write_with(named("lib.train.admin", "Settings") + put, write, tmp_path / "model.pth")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "model.pth")
    assert "\n" not in str(caught.value)
    write_with(called(named("lib.train.admin", "Settings")), write, tmp_path / "model.pth")
    assert read_checkpoint(tmp_path / "model.pth").tensors.keys() == STATE.keys()
