"""Plans really built, by TensorRT-RTX on the CPU: every family, both precisions. They are not run: that takes a GPU."""

import pytest
from tiny import TINY

from trk import BackendError
from trk.cli.command import run
from trk.cli.export import command
from trk.engine.bundle import Bundle
from trk.engine.plans.build import Options, build
from trk.engine.plans.bundle_plans import gpu_of, plans
from trk.engine.plans.cache import read_side_car
from trk.engine.plans.library import load

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install tensorrt-rtx-cu13)")

FAMILIES = (
    ("siamrpnpp", "resnet50"),
    ("siamrpnpp", "mobilenetv2"),
    ("siamrpnpp", "alexnet"),
    ("siamrpnpp", "light"),
    ("siamrpn", None),
    ("dasiamrpn", None),
    ("siamfc", None),
    ("siamdw_fc", None),
    ("siamdw_rpn", None),
    ("sasiam", None),
    ("nanotrack", "v3"),
    ("nanotrack", "v2"),
    ("nanotrack", "v1"),
    ("lightfc", None),
    ("fear", None),
    ("matching", None),
)


@pytest.fixture(scope="module")
def library():
    return load("rtx")


def test_plan_says_which_version_built_it(library, tiny_bundle):
    plan = build(library, Bundle(tiny_bundle).read("search.onnx"), Options("fp32")).plan
    assert plan[:4] == b"vtrt"
    assert list(plan[24:27]) == list(library.numbers[:3])


def test_contexts_can_be_asked_whether_they_may_be_captured(library):
    assert hasattr(library.module.IExecutionContext, "is_stream_capturable")


def test_targets_that_are_named(library, tiny_bundle):
    model = Bundle(tiny_bundle).read("template.onnx")
    assert build(library, model, Options("fp32", ("7.5", "8.6"))).plan
    with pytest.raises(BackendError) as caught:
        build(library, model, Options("fp32", ("6.1",)))
    assert "no target for compute capability 6.1: it has 7.5, 8.0, 8.6" in str(caught.value)


def test_graph_that_is_none_is_refused_with_the_reason(library):
    with pytest.raises(BackendError, match="can't read the graph"):
        build(library, b"no graph", Options("fp32"))


def test_graphs_that_share_weights_build_from_a_file_and_a_folder(library, long_trk, long_bundle, tmp_path):
    for number, bundle in enumerate((long_trk, long_bundle)):
        made = plans(Bundle(bundle), library, gpu_of(()), folder=tmp_path / str(number))
        assert set(made) == {"template.onnx", "search.onnx", "search_lost.onnx"}


def test_export_builds_plans_into_the_bundle(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("trk.models.registry.ROWS", (TINY,))
    out = tmp_path / "tiny"
    words = [
        "--model",
        "tiny",
        "--random",
        "--engine",
        "tensorrt",
        "--cc",
        "8.6",
        "--out",
        str(out),
    ]
    assert run(command, words) == 0
    found = {read_side_car(path)["key"]["graph"]: read_side_car(path)["key"] for path in (out / "plans").glob("*.plan")}
    assert set(found) == {"template.onnx", "search.onnx"}
    assert found["search.onnx"]["gpu"] == "compute capability 8.6"
    assert "TensorRT-RTX" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--engine", "tensorrt", "--cc", "eight"], "8.6"),
        (["--cc", "8.6"], "--engine tensorrt"),
        (["--engine", "tensorrt", "--out", "b.trk"], "folder"),
    ],
)
def test_option_that_makes_no_sense(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(command, ["--model", "nanotrack", "--random", *words]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("model", "variant"), FAMILIES, ids=lambda value: value or "")
def test_every_family_builds_in_both_precisions(model, variant, precision, library, tmp_path):
    from trk.export.bundle import export_bundle
    from trk.models.registry import find

    export_bundle(find(model, variant), tmp_path / "bundle", precision=precision)
    made = plans(Bundle(tmp_path / "bundle"), library, gpu_of(("8.6",)), ("8.6",))
    assert all(plan[:4] == b"vtrt" for plan in made.values())
