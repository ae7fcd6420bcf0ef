"""Plans on disk: what is damaged, foreign, stale or can't be kept is said in words."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from trk import BackendError
from trk.engine.bundle import Bundle
from trk.engine.plans.cache import Key, find, keep, place, read_side_car, side_car

KEY = Key("search.onnx", "0" * 64, "TensorRT", "10.0.0", "a GPU (8.6)", "fp32")


def test_a_plan_that_is_kept_is_found(tmp_path):
    keep(tmp_path / "plans", KEY, b"plan")
    assert find(tmp_path / "plans", KEY) == (b"plan", "")
    assert find(tmp_path / "plans", replace(KEY, version="11"))[0] is None


@pytest.mark.parametrize("data", [b"", b"plaN", b"plan and more"])
def test_a_plan_that_was_damaged_is_not_used(tmp_path, data):
    keep(tmp_path, KEY, b"plan").write_bytes(data)
    found, why = find(tmp_path, KEY)
    assert found is None
    assert "is damaged" in why


@pytest.mark.parametrize("about", ["", "{", "[]", "7", '{"key": 3}', '{"sha256": "0"}', "\xff"])
def test_a_plan_whose_description_was_damaged_is_not_used(tmp_path, about):
    path = keep(tmp_path, KEY, b"plan")
    side_car(path).write_text(about, encoding="latin-1")
    found, why = find(tmp_path, KEY)
    assert found is None
    assert why
    assert keep(tmp_path, KEY, b"anew") == path
    assert find(tmp_path, KEY) == (b"anew", "")


def test_a_plan_under_anothers_name_is_not_used(tmp_path):
    path = keep(tmp_path, KEY, b"plan")
    about = read_side_car(path)
    about["key"]["gpu"] = "another"
    side_car(path).write_text(json.dumps(about))
    assert "something else than its name says" in find(tmp_path, KEY)[1]


def test_plans_of_other_gpus_stay_and_those_of_older_exports_go(tmp_path):
    for one in (KEY, replace(KEY, gpu="another"), replace(KEY, version="2")):
        keep(tmp_path, one, b"plan")
    assert len(list(tmp_path.glob("*.plan"))) == 3
    fresh = replace(KEY, onnx_sha256="1" * 64)
    assert find(tmp_path, fresh) == (None, "the plan of search.onnx there is of an older export of the bundle")
    keep(tmp_path, fresh, b"new")
    assert [path.read_bytes() for path in tmp_path.glob("*.plan")] == [b"new"]
    assert find(tmp_path, fresh) == (b"new", "")


def test_plans_that_can_not_be_kept_are_an_error_and_leave_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BackendError, match="can't be kept"):
        keep(tmp_path / "file", KEY, b"plan")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BackendError, match="No space left on device"):
        keep(tmp_path / "plans", KEY, b"plan")
    assert list((tmp_path / "plans").iterdir()) == []


def test_plans_of_a_bundle_that_is_read_only_or_a_file_lie_in_the_cache(bundle_copy, tiny_trk, tmp_path, monkeypatch):
    monkeypatch.setenv("TRK_CACHE", str(tmp_path / "cache"))
    assert place(Bundle(bundle_copy)) == bundle_copy / "plans"
    assert place(Bundle(tiny_trk)) == tmp_path / "cache" / "plans"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert place(Bundle(bundle_copy)) == tmp_path / "cache" / "plans"
