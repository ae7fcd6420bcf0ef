import pytest
from cuda_stand_in import FakeRuntime


@pytest.fixture
def runtime(monkeypatch, tmp_path_factory):
    """A GPU that is none; plans lie where they disturb nobody."""
    monkeypatch.setattr("trk.engine.plans.bundle_plans.place", lambda bundle: tmp_path_factory.getbasetemp() / "plans")
    return FakeRuntime()
