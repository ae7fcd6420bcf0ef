"""Every parser that reads what others wrote: bytes go in; a result or one of our errors, of one line, comes out.

    python tests/fuzz_parsers.py bundle_json --runs 200000     # coverage-guided, with atheris
    python tests/fuzz_parsers.py --list

tests/test_fuzz_parsers.py runs every parser on some thousand mutations of its seeds.
"""

import argparse
import io
import json
import random
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import NamedTuple

Parse = Callable[[Path], object]


class Parser(NamedTuple):
    """One parser: reads the file it is given; `seeds` are valid inputs."""

    suffix: str
    parse: Parse
    seeds: Callable[[], list[bytes]]


def _bundle_json() -> list[bytes]:
    from trk.engine.bundle import Bundle
    from trk.weights.shipped import default_bundle

    return [Bundle(default_bundle()).manifest.model_dump_json().encode()]


def _read_bundle_json(path: Path) -> object:
    from trk.engine.bundle import Bundle

    folder = path.with_name("bundle")
    folder.mkdir(exist_ok=True)
    (folder / "bundle.json").write_bytes(path.read_bytes())
    return Bundle(folder)


def _trk_file() -> list[bytes]:
    files = io.BytesIO()
    with zipfile.ZipFile(files, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("bundle.json", _bundle_json()[0][:2000])
        archive.writestr("template.onnx", b"0123456789")
    return [files.getvalue()]


def _read_trk(path: Path) -> object:
    from trk.engine.bundle import Bundle

    return Bundle(path)


def _checkpoints() -> list[bytes]:
    import numpy as np
    import torch
    from safetensors.torch import save

    tensors = {"features.0.weight": torch.ones(2, 3), "head.bias": torch.zeros(4, dtype=torch.float16)}
    found = [save(tensors)]
    for content in (tensors, {"state_dict": tensors, "epoch": 3}):
        for zipped in (True, False):
            made = io.BytesIO()
            torch.save(content, made, _use_new_zipfile_serialization=zipped)
            found.append(made.getvalue())
    packed = io.BytesIO()
    np.savez(packed, **{name: values.numpy() for name, values in tensors.items()})
    return [*found, packed.getvalue()]


def _read_checkpoint(path: Path) -> object:
    from trk.weights.checkpoint import read_checkpoint

    return read_checkpoint(path)


def _read_groundtruth(path: Path) -> object:
    from trk.bench.datasets.text import read_boxes

    return read_boxes(path)


def _read_seeds(path: Path) -> object:
    from trk.video.seeds import number_targets, read_seeds

    return number_targets([read_seeds(path)])


def _read_preset(path: Path) -> object:
    from trk.cli.values import parse_params

    return parse_params(str(path), ["lr=0.5"])


def _command(path: Path) -> object:
    from pydantic import ValidationError

    from trk.web.server import Command

    try:
        return Command.model_validate_json(path.read_bytes().decode("utf-8", "surrogateescape"))
    except ValidationError:  # the server tells the page
        return None


def _load_run(path: Path) -> object:
    import numpy as np

    from trk.bench.datasets.sequence import Sequence
    from trk.bench.store import Store

    sequence = Sequence("clip", (path, path), np.array([[1.0, 2, 3, 4], [2, 2, 3, 4]]))
    return Store(path.parent).load(path.stem, sequence)


def _state_seeds() -> list[bytes]:
    import numpy as np

    frame = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    return [json.dumps(_step().start(frame, (40, 30, 30, 40))).encode()]


def _run_state(path: Path) -> object:
    try:
        state = json.loads(path.read_bytes())
    except ValueError:  # the host's to tell
        return None
    return _step().run(state if isinstance(state, dict) else {}, [])


def _training(layout: str, place: str, *images: str) -> Parse:
    """The parser of a file at `place` in a folder of training data, beside `images`."""

    def parse(path: Path) -> object:
        from trk.train.layouts import read_data

        folder = path.with_name(layout)
        for name in (place, *images):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        (folder / place).write_bytes(path.read_bytes())
        return read_data([f"{layout}:{folder / place if layout == 'csv' else folder}"])

    return parse


def _training_absence(path: Path) -> object:
    truth = path.with_name("got10k") / "a" / "groundtruth.txt"
    truth.parent.mkdir(parents=True, exist_ok=True)
    truth.write_text("1,2,30,40\n2,2,30,40\n", encoding="utf-8")
    return _training("got10k", "a/absence.label", "a/1.jpg", "a/2.jpg")(path)


def _attributes(path: Path) -> object:
    from trk.bench.datasets.otb import _attributes

    path.with_name("attrs.txt").write_bytes(path.read_bytes())
    return _attributes(path.parent)


_COCO = {
    "images": [{"id": 1, "file_name": "1.jpg"}],
    "annotations": [{"id": 7, "image_id": 1, "bbox": [1, 2, 30, 40], "iscrowd": 0}],
}
_VID = (
    "<annotation><object><trackid>0</trackid><bndbox><xmax>90</xmax><xmin>10</xmin><ymax>80</ymax><ymin>20</ymin>"
    "</bndbox></object></annotation>"
)

_STEPS: list[object] = []


def _step():  # type: ignore[no-untyped-def]
    from trk.engine.stateless import Step
    from trk.engine.tracker import Tracker

    if not _STEPS:
        _STEPS.append(Step(Tracker(threads=1)))
    return _STEPS[0]


PARSERS = {
    "bundle_json": Parser(".json", _read_bundle_json, _bundle_json),
    "trk_file": Parser(".trk", _read_trk, _trk_file),
    "checkpoint": Parser(".pth", _read_checkpoint, _checkpoints),
    "groundtruth": Parser(
        ".txt", _read_groundtruth, lambda: [b"1,2,30,40\nnan,nan,nan,nan\n3\t4 5;6\n", b"1 2 3 4 5 6 7 8\n"]
    ),
    "seeds_csv": Parser(".csv", _read_seeds, lambda: [b"frame,id,x,y,w,h\n0,1,10,20,30,40\n5,2,1.5,2,3,4\n"]),
    "seeds_json": Parser(".json", _read_seeds, lambda: [b'[{"frame": 0, "id": 1, "box": [1, 2, 3, 4]}, [1, 2, 3, 4]]']),
    "seeds_jsonl": Parser(
        ".jsonl", _read_seeds, lambda: [b'{"frame": 0, "box": [1, 2, 3, 4]}\n{"box": [1, 2, 3, 4]}\n']
    ),
    "preset": Parser(".json", _read_preset, lambda: [b'{"params": {"penalty_k": 0.05, "lr": 0.3}}']),
    "web_command": Parser(
        ".json",
        _command,
        lambda: [b'{"do": "place", "box": [1, 2, 30, 40], "target": 1}', b'{"do": "seek", "frame": 9}'],
    ),
    "stored_run": Parser(
        ".json",
        _load_run,
        lambda: [b'{"boxes": [[1,2,3,4],[2,2,3,4]], "scores": [1, 0.5], "times": [0, 0.1], "frame_wh": [64, 48]}'],
    ),
    "state": Parser(".json", _run_state, _state_seeds),
    "train_got10k": Parser(
        ".txt", _training("got10k", "a/groundtruth.txt", "a/1.jpg", "a/2.jpg"), lambda: [b"1,2,30,40\n2,2,30,40\n"]
    ),
    "train_absence": Parser(".txt", _training_absence, lambda: [b"0\n1\n", b"0,0"]),
    "train_coco": Parser(
        ".json", _training("coco", "annotations/instances_val.json"), lambda: [json.dumps(_COCO).encode()]
    ),
    "train_vid": Parser(".xml", _training("vid", "Annotations/VID/train/a/000000.xml"), lambda: [_VID.encode()]),
    "train_ytbb": Parser(
        ".csv", _training("ytbb", "a.csv", "v/1000.jpg"), lambda: [b"v,1000,0,cat,1,present,0.1,0.5,0.2,0.6\n"]
    ),
    "train_csv": Parser(
        ".csv", _training("csv", "a.csv"), lambda: [b"image,x,y,w,h,track,frame\na.jpg,1,2,30,40,1,0\n"]
    ),
    "attributes": Parser(".txt", _attributes, lambda: [b"IV, SV\nOCC"]),
}


def try_parser(name: str, data: bytes, folder: Path) -> None:
    """Run a parser on `data`. Raises whatever it must not raise."""
    from trk.errors import TrkError

    parser = PARSERS[name]
    path = folder / f"input{parser.suffix}"
    path.write_bytes(data)
    try:
        parser.parse(path)
    except TrkError as error:
        message = str(error)
        assert message.strip(), "an error without words"
        assert "\n" not in message, f"more than a line: {message!r}"


def mutations(seeds: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` damaged copies of `seeds`: bytes changed, cut, doubled, swapped for what breaks parsers."""
    draw = random.Random(seed)
    odd = [
        b"NaN",
        b"1e999",
        b"-1",
        b"[" * 500,
        b"\x00",
        b"\xff\xfe",
        b'"',
        b"9" * 400,
        b"null",
        b"{}",
        b"\r\n",
        b"../",
        b"\n",
    ]
    for _ in range(count):
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 4)):
            at, length = draw.randrange(len(data) + 1), draw.randint(0, 12)
            how = draw.randrange(5)
            if how == 0:
                data[at : at + length] = draw.randbytes(length)
            elif how == 1:
                data[at : at + length] = draw.choice(odd)
            elif how == 2:
                del data[at : at + length * draw.choice((1, 1, 50))]
            elif how == 3:
                data[at:at] = data[at : at + length * 4]
            elif at < len(data):
                data[at] ^= 1 << draw.randrange(8)
        yield bytes(data)


def our_functions() -> Iterator[FunctionType]:
    """Yield the functions and methods of every module of trk that is loaded."""
    for name, module in list(sys.modules.items()):
        if name == "trk" or name.startswith("trk."):
            for thing in vars(module).values():
                members = vars(thing).values() if isinstance(thing, type) and thing.__module__ == name else [thing]
                yield from (one for one in members if isinstance(one, FunctionType) and one.__module__ == name)


def main() -> None:
    """Fuzz one parser with atheris until --runs executions are done or something is found."""
    options = argparse.ArgumentParser(description="Fuzz one parser, guided by coverage.")
    options.add_argument("parser", nargs="?", choices=sorted(PARSERS))
    options.add_argument("--runs", type=int, default=100_000)
    options.add_argument("--memory", type=int, default=2048, help="MiB that the process may take")
    options.add_argument("--seconds", type=int, default=10, help="that one execution may take")
    options.add_argument("--list", action="store_true")
    given = options.parse_args()
    if given.list or not given.parser:
        print("\n".join(sorted(PARSERS)))
        return
    import atheris

    seeds = PARSERS[given.parser].seeds()
    with tempfile.TemporaryDirectory() as place:
        for data in seeds:
            try_parser(given.parser, data, Path(place))  # imports whatever the parser needs
    for function in our_functions():
        atheris.instrument_func(function)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        corpus = Path(place) / "corpus"
        corpus.mkdir()
        for number, data in enumerate(seeds):
            (corpus / str(number)).write_bytes(data)
        longest = 4 * max(map(len, seeds))
        flags = [
            f"-runs={given.runs}",
            f"-rss_limit_mb={given.memory}",
            f"-timeout={given.seconds}",
            f"-max_len={longest}",
        ]
        atheris.Setup([sys.argv[0], *flags, str(corpus)], lambda data: try_parser(given.parser, data, Path(place)))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
