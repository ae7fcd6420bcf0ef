import pytest

from trk import BackendError
from trk.cli import build
from trk.cli.build import export_for_engine
from trk.models.correlation_forms import FORMS, RUNTIME_FORMS


class Plans:
    """Builds in some forms only, as an old TensorRT that takes no kernels at run time."""

    def __init__(self, monkeypatch, builds):
        self.written, self.builds = [], builds
        monkeypatch.setattr(build, "build_plans", self.build)

    def write(self, form):
        self.written.append(form)
        return f"manifest of {form}"

    def build(self, bundle, capabilities):
        if self.written[-1] not in self.builds:
            raise BackendError("TensorRT can't build search.onnx: no tactic")


def test_first_form_that_builds_is_kept(monkeypatch, tmp_path, capsys):
    plans = Plans(monkeypatch, {"grouped", "gather"})
    assert export_for_engine(plans.write, ("grouped", "gather"), tmp_path, ()) == "manifest of grouped"
    assert plans.written == ["grouped"]
    assert capsys.readouterr().err == ""


def test_next_form_is_written_where_one_does_not_build(monkeypatch, tmp_path, capsys):
    plans = Plans(monkeypatch, {"gather"})
    assert export_for_engine(plans.write, ("grouped", "gather"), tmp_path, ()) == "manifest of gather"
    assert "no tactic: writing correlations as gather" in capsys.readouterr().err


def test_last_reason_is_told_where_none_builds(monkeypatch, tmp_path):
    plans = Plans(monkeypatch, set())
    with pytest.raises(BackendError, match="no tactic"):
        export_for_engine(plans.write, ("grouped", "gather"), tmp_path, ())
    assert plans.written == ["grouped", "gather"]


def test_every_runtime_has_a_form_to_begin_with():
    assert all(forms and set(forms) <= set(FORMS) for forms in RUNTIME_FORMS.values())
