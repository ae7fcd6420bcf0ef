import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def python(program, **options):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, **options)


def test_rooms_import_only_what_they_may():
    pytest.importorskip("importlinter", reason="import-linter is not installed (trk-engine[dev])")
    done = python(LINT, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_rules_see_every_room():
    import tomllib

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    ruled = {room.strip().removeprefix("trk.") for layer in layers for room in layer.split("|")}
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms <= ruled


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("trk", {"cv2", "torch", "onnx", "onnxruntime", "numpy", "av", "pydantic", "rich", "click"}),
        ("trk.errors", {"cv2", "torch", "numpy"}),
        ("trk.engine.tracker", {"torch", "onnx", "av", "rich", "click"}),
        ("trk.tracking", {"torch", "onnx", "rich", "click"}),
        ("trk.cli.run", {"torch", "onnx", "onnxruntime", "safetensors", "trk.models", "trk.export"}),
        ("trk.cli.export", {"torch", "onnx", "trk.models", "trk.export"}),
        ("trk.models.registry", {"cv2", "onnx", "onnxruntime", "trk.engine"}),
    ],
)
def test_import_loads_no_more_than_it_needs(imported, absent):
    done = python(f"import {imported}, sys; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert absent & set(done.stdout.split()) == set()


def test_tracker_is_reached_without_pytorch_and_runs(tiny_trk, clip):
    program = f"""
import sys
sys.modules.update(torch=None, onnx=None, safetensors=None)
import trk
from trk.tracking import track
tracker = trk.Tracker({str(tiny_trk)!r}, threads=1)
for number, tracked in enumerate(track({str(clip.folder)!r}, {tuple(clip.boxes[0])!r}, tracker)):
    pass
print(number)
"""
    done = python(program.replace("np.float64", ""))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "19\n"
