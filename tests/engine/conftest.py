import pytest


@pytest.fixture
def runs(monkeypatch):
    """How many targets each run of a network was for."""
    from trk.engine.backends.onnxruntime import OnnxRuntimeBackend

    counted = []
    for name in ("search", "search_batch"):
        plain = getattr(OnnxRuntimeBackend, name)

        def counting(backend, graph, kernels, *rest, plain=plain, name=name):
            counted.append(len(kernels) if name == "search_batch" else 1)
            return plain(backend, graph, kernels, *rest)

        monkeypatch.setattr(OnnxRuntimeBackend, name, counting)
    return counted
