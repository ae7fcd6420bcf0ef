"""Checkpoints of every container are read, damaged ones are refused in one line, and none of them runs anything."""

import contextlib
import io
import pickle
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from old_pickles import Storage, Stored, stored, write_python2, write_state_dict
from torch import Tensor

from trk.errors import CheckpointError
from trk.weights.checkpoint import read_checkpoint, write_safetensors
from trk.weights.pickles import read_pickled


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "backbone.conv1.weight": torch.randn(4, 3, 3, 3),
        "backbone.bn1.running_var": torch.rand(4) + 0.5,
        "backbone.bn1.num_batches_tracked": torch.tensor(7),
    }


def old_zip(path: Path, content: object) -> None:
    torch.save(content, path)


def old_pickle(path: Path, content: object) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


WRITERS: dict[str, Callable[[Path, dict[str, Tensor]], None]] = {
    "PyTorch zip": old_zip,
    "PyTorch pickle": old_pickle,
    "NumPy npz": lambda path, tensors: np.savez(path.open("wb"), **{k: v.numpy() for k, v in tensors.items()}),
    "safetensors": lambda path, tensors: safetensors.torch.save_file(tensors, path),
}


def assert_same(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert tensors.keys() == expected.keys()
    for key, value in tensors.items():
        assert torch.equal(value, expected[key]), key
        assert value.dtype == expected[key].dtype


def refuses(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("write", [old_zip, old_pickle])
def test_our_unpickler_reads_what_pytorch_writes(write: Callable[[Path, object], None], tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = state() | {"part": whole[1:, ::2], "half": whole.half(), "parameter": torch.nn.Parameter(whole)}
    write(tmp_path / "model.pth", {"epoch": 3, "state_dict": tensors})
    loaded = read_pickled(tmp_path / "model.pth")
    assert loaded["epoch"] == 3
    assert_same(loaded["state_dict"], tensors)


@pytest.mark.parametrize("kind", WRITERS)
def test_containers_are_told_by_content_whatever_the_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.any"
    WRITERS[kind](path, state())
    checkpoint = read_checkpoint(path)
    assert_same(checkpoint.tensors, state())
    assert (checkpoint.kind, checkpoint.file, len(checkpoint.sha256)) == (kind, "model.any", 64)


@pytest.mark.parametrize("write", [old_zip, old_pickle])
@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapper_prefix_optimizer_and_epoch_are_taken_off(
    write: Callable[[Path, object], None], wrapper: str, tmp_path: Path
) -> None:
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 20,
        "best": np.float64(0.4),
        "arch": "SiamRPN",
        wrapper: {f"module.{key}": value for key, value in state().items()},
        "optimizer": optimizer.state_dict(),
    }
    write(tmp_path / "checkpoint_e20.pth", content)
    assert_same(read_checkpoint(tmp_path / "checkpoint_e20.pth").tensors, state())


@pytest.mark.parametrize("location", ["cpu", "cuda:0"])
def test_file_of_pytorch_0_3_and_python_2_is_read(location: str, tmp_path: Path) -> None:
    floats = {key: value for key, value in state().items() if value.is_floating_point()}
    write_state_dict(tmp_path / "SiamRPNVOT.model", floats, location)
    assert_same(read_checkpoint(tmp_path / "SiamRPNVOT.model").tensors, floats)


def test_tensors_that_share_an_old_storage_get_their_own_parts(tmp_path: Path) -> None:
    values = torch.arange(12.0)
    shared = Storage("s", 12, "cpu")
    content = {"whole": Stored(shared, 0, (3, 4), (4, 1)), "turned": Stored(shared, 4, (2, 4), (1, 2))}
    write_python2(tmp_path / "old.pth", content, {"s": values})
    tensors = read_checkpoint(tmp_path / "old.pth").tensors
    assert torch.equal(tensors["whole"], values.reshape(3, 4))
    assert torch.equal(tensors["turned"], values.as_strided((2, 4), (1, 2), 4))


@pytest.mark.parametrize(
    ("offset", "size", "stride"), [(1, (12,), (1,)), (-1, (2,), (1,)), (0, (4, 4), (4, 1)), (5, (2,), (-3,))]
)
def test_old_tensor_outside_its_storage_is_refused(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...], tmp_path: Path
) -> None:
    content = {"weight": Stored(Storage("s", 12, "cpu"), offset, size, stride)}
    write_python2(tmp_path / "old.pth", content, {"s": torch.arange(12.0)})
    assert "outside its storage" in refuses(tmp_path / "old.pth")


def test_cuda_archive_loads_on_the_cpu(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "cpu.pth")
    with zipfile.ZipFile(tmp_path / "cpu.pth") as cpu, zipfile.ZipFile(tmp_path / "cuda.pth", "w") as cuda:
        for name in cpu.namelist():
            data = cpu.read(name)
            if name.endswith("data.pkl"):
                assert b"X\x03\0\0\0cpu" in data
                data = data.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0")
            cuda.writestr(name, data)
    assert_same(read_checkpoint(tmp_path / "cuda.pth").tensors, state())


class Payload:
    """An object whose unpickling writes a file: what an attacker would put into a checkpoint."""

    def __init__(self, marker: Path, how: str) -> None:
        self.marker = marker
        self.how = how

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        if self.how == "eval":
            return eval, (f"open({str(self.marker)!r}, 'w').close()",)
        if self.how == "method":
            return Path.touch, (self.marker,)
        return __import__("os").system, (f"touch {self.marker}",)


def bare_pickle(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content, 2))


def bare_npz(path: Path, content: object) -> None:
    np.savez(path.open("wb"), weight=np.array([content], dtype=object))


@pytest.mark.parametrize("how", ["system", "eval", "method"])
@pytest.mark.parametrize("write", [old_zip, old_pickle, bare_pickle, bare_npz])
def test_malicious_checkpoint_is_refused_and_nothing_ran(
    write: Callable[[Path, object], None], how: str, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    content = {"state_dict": state(), "optimizer": Payload(marker, how)}
    pickle.loads(pickle.dumps(content))
    assert marker.exists(), "the payload of this test is a dud"
    marker.unlink()
    write(tmp_path / "evil.pth", content)
    message = refuses(tmp_path / "evil.pth")
    assert not marker.exists()
    if write is not bare_npz:
        assert "refused" in message
        assert "weights_only" not in message


def test_refusal_names_what_the_file_wanted_to_call(tmp_path: Path) -> None:
    old_zip(tmp_path / "evil.pth", {"weight": Payload(tmp_path / "ran", "system")})
    assert "posix.system" in refuses(tmp_path / "evil.pth")


def test_pickled_module_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole_model.pth")
    assert "torch.nn.modules.linear.Linear" in refuses(tmp_path / "whole_model.pth")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"epoch 1 loss 0.5\n", "text file"),
        (b"<!DOCTYPE html><html>Google Drive can't scan this file</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "nothing that trk knows"),
    ],
)
def test_what_is_no_checkpoint_is_called_by_its_name(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    assert reason in refuses(path)


def test_missing_file_and_folder_are_errors(tmp_path: Path) -> None:
    assert "No such file" in refuses(tmp_path / "none.pth")
    refuses(tmp_path)


def test_archive_without_weights_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.jpg", b"no weights")
    assert "archive without weights" in refuses(tmp_path / "photos.zip")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {}}, [1, 2], "text"])
def test_checkpoint_without_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "model.pth")
    assert "no weights" in refuses(tmp_path / "model.pth")


def test_sparse_tensor_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"head.weight": torch.eye(3).to_sparse()}, tmp_path / "model.pth")
    assert "head.weight is sparse" in refuses(tmp_path / "model.pth")


@pytest.mark.parametrize("kind", [*WRITERS, "Python 2"])
def test_file_cut_anywhere_is_an_error_of_one_line(kind: str, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    if kind == "Python 2":
        write_state_dict(whole, {"weight": torch.randn(3, 4)})
    else:
        WRITERS[kind](whole, state())
    data = whole.read_bytes()
    for length in {1, 2, 9, 40, *(len(data) * i // 23 for i in range(1, 23)), len(data) - 1}:
        cut.write_bytes(data[:length])
        refuses(cut)


@pytest.mark.parametrize("kind", [*WRITERS, "Python 2"])
def test_file_with_a_wrong_byte_is_read_or_is_a_checkpoint_error(kind: str, tmp_path: Path) -> None:
    whole, changed = tmp_path / "whole.pth", tmp_path / "changed.pth"
    if kind == "Python 2":
        write_state_dict(whole, {"weight": torch.randn(3, 4)})
    else:
        WRITERS[kind](whole, state())
    data = bytearray(whole.read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 150):
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.integers(8)
        changed.write_bytes(damaged)
        with contextlib.suppress(CheckpointError):
            read_checkpoint(changed)


def test_npz_that_promises_more_than_it_holds_is_an_error(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 1 << 20)})
    with zipfile.ZipFile(tmp_path / "model.npz", "w") as archive:
        archive.writestr("weight.npy", array.getvalue())
    refuses(tmp_path / "model.npz")


def test_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", weight=np.zeros((1024, 1024), np.float32))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    monkeypatch.setattr("trk.weights.checkpoint.LARGEST", 2**20)
    assert "unpacks to" in refuses(tmp_path / "bomb.npz")


def test_written_safetensors_hold_the_same_tensors_and_the_metadata(tmp_path: Path) -> None:
    weight = torch.randn(4, 4)
    tensors = {"a": weight, "b": weight, "turned": weight.T}
    write_safetensors(tmp_path / "model.safetensors", tensors, {"licence": "MIT"})
    assert_same(read_checkpoint(tmp_path / "model.safetensors").tensors, tensors)
    with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"licence": "MIT"}


def test_stored_writes_what_python_2_wrote(tmp_path: Path) -> None:
    """The old files of these tests are real: PyTorch's own loader reads them too, once it is told of Latin-1."""
    values = torch.randn(2, 3)
    write_python2(tmp_path / "old.pth", {"weight": stored(values, "s")}, {"s": values})
    loaded = torch.load(tmp_path / "old.pth", weights_only=False, encoding="latin1")
    assert torch.equal(loaded["weight"], values)


def test_safetensors_that_cant_be_written_are_an_error_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="can't be written"):
        write_safetensors(tmp_path / "missing" / "model.safetensors", state())
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="can't be written"):
        write_safetensors(tmp_path / "folder.safetensors", state())
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"]


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x7f", b"p2000000000\n"], ids=["binary", "text"])
def test_a_pickle_that_asks_for_gigabytes_of_memo_is_refused(tmp_path: Path, put: bytes) -> None:
    path = tmp_path / "memo.pth"
    path.write_bytes(b"\x80\x02}" + put + b".")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="numbers its objects up to"):
        read_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10  # KiB


def test_an_archive_of_a_version_to_come_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "future.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("future/data.pkl", b"")
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 6 : central + 8] = (100).to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="zip file version"):
        read_checkpoint(path)
