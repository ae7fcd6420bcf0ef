import pytest

from trk.bench.gemm import Gemm


def test_the_peak_is_the_fastest_turn():
    pytest.importorskip("onnxruntime")
    gemm = Gemm([1])
    assert gemm.peak(1) is None
    gemm.turn()
    gemm.turn()
    assert len(gemm.rates[1]) == 2
    assert gemm.peak(1) == max(gemm.rates[1]) > 0.1
    assert gemm.peak(2) is None
