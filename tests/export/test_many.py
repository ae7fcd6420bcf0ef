import numpy as np
import onnx
import pytest
import tiny

from trk import ExportError, MultiTracker, Tracker
from trk.engine.bundle import Bundle
from trk.export import many
from trk.export.bundle import export_bundle
from trk.models.registry import find


def test_weights_are_kept_once_for_all_numbers_of_targets(many_bundle, tiny_bundle):
    bundle = Bundle(many_bundle)
    (search,) = bundle.manifest.searches
    assert [(batch.file, batch.targets) for batch in search.batches] == [("search_x2.onnx", 2), ("search_x4.onnx", 4)]
    assert search.batches[1].inputs[0].shape == (12, 255, 255, 3)
    assert {name for name in bundle.manifest.parity.outputs if "@4 targets" in name} == {
        f"{name}@4 targets" for name in ("map_score", "best", "box", "score")
    }
    size = sum(file.bytes for file in bundle.manifest.files)
    assert size < 2 * sum(file.bytes for file in Bundle(tiny_bundle).manifest.files)


def test_graph_that_mixes_up_its_targets_is_not_written(tmp_path, monkeypatch):
    def crossed(module, args, inputs, outputs):
        model = to_onnx(module, args, inputs, outputs)
        if args[1].shape[0] > 1:  # the sizes of the two targets are swapped
            swap = onnx.numpy_helper.from_array(np.array([1, 0]), "swap")
            model.graph.initializer.append(swap)
            for node in model.graph.node:
                node.input[:] = ["swapped" if name == "size" else name for name in node.input]
            model.graph.node.insert(0, onnx.helper.make_node("Gather", ["size", "swap"], ["swapped"]))
        return model

    to_onnx = many.to_onnx
    monkeypatch.setattr(many, "to_onnx", crossed)
    with pytest.raises(ExportError, match="@2 targets"):
        export_bundle(tiny.TINY, tmp_path / "out", tiny.seeded(), targets=(2,))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "variant", "precision"),
    [
        ("matching", None, "fp32"),
        ("siamrpnpp", "light", "fp32"),
        ("siamrpnpp", "mobilenetv2", "fp16"),
        ("siamrpn", None, "fp32"),
        ("dasiamrpn", "big", "fp32"),
        ("siamfc", None, "fp32"),
        ("nanotrack", "v2", "fp32"),
        ("nanotrack", "v2", "fp16"),
        ("sasiam", None, "fp32"),
    ],
)
def test_every_family_follows_targets_together_as_apart(model, variant, precision, tmp_path, clip):
    export_bundle(find(model, variant), tmp_path / "many.trk", precision=precision, targets=(3,))
    together, apart = (MultiTracker(tmp_path / "many.trk", threads=1, together=one) for one in (True, False))
    for tracker in (together, apart):
        for number in range(3):
            tracker.add(clip.frames[0], clip.boxes[0] + np.array([40 * number, 20 * number, 0, 0]))
    found, expected = (tracker.update(clip.frames[1]) for tracker in (together, apart))
    for target in found:
        np.testing.assert_allclose(found[target].box, expected[target].box, atol=0.5 if precision == "fp16" else 0.01)
    assert Tracker(tmp_path / "many.trk", threads=1).manifest.precision == precision
