import sys

import pytest

from trk.export.operators import kept_operators

registration = pytest.importorskip("torch.onnx._internal.exporter._registration")


def test_every_export_gets_a_table_of_its_own_of_the_same_operators():
    before = vars(registration.ONNXRegistry)["from_torchlib"]
    with kept_operators():
        one, other = (registration.ONNXRegistry().from_torchlib(opset_version=18) for _ in range(2))
    assert vars(registration.ONNXRegistry)["from_torchlib"] is before
    assert one.functions == other.functions
    assert len(one.functions) > 500
    assert one.opset_version == 18
    target, metas = next(iter(one.functions.items()))
    metas.clear()
    assert other.functions[target]


def test_an_error_within_leaves_the_exporter_as_it_was():
    before = vars(registration.ONNXRegistry)["from_torchlib"]
    with pytest.raises(KeyError), kept_operators():
        raise KeyError
    assert vars(registration.ONNXRegistry)["from_torchlib"] is before


def test_a_pytorch_that_is_laid_out_otherwise_is_left_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.onnx._internal.exporter._registration", None)
    with kept_operators():
        pass
