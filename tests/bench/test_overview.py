"""Reports of trk-eval and trk-bench brought together, for the bundles that ship."""

import json

import pytest

from trk.bench.overview import main, overview
from trk.weights.shipped import default_bundle

INT8 = default_bundle("int8").name.removesuffix(".trk")


def evaluation(path, folder, runs=4, **means):
    """Write to `path` what of trk-eval's report is read: trackers by name with their mean overlap, None: failed."""
    trackers = [
        {
            "tracker": name,
            "identity": {"kind": "bundle"},
            "sequences_counted": 15,
            "figures": mean and {"auc": {"mean": mean - 0.01}, "ao": {"mean": mean, "interval_95": [mean, mean]}},
            "fps": 30.0,
            "failed": {} if mean else {"Couple": "why"},
            "sequences": [],
        }
        for name, mean in means.items()
    ]
    path.write_text(json.dumps({"data": {"folder": f"/data/{folder}"}, "runs": runs, "trackers": trackers}))
    return path


def entry(bundle, cpu, threads=1, targets=1):
    return {
        "bundle": bundle,
        "how": "onnxruntime",
        "threads": threads,
        "targets": targets,
        "total": {"median_ms": 9 * cpu},
        "cpu": {"median_ms": cpu, "mean_ms": 2 * cpu},
    }


def speeds(path, *entries):
    """Write to `path` what of trk-bench's report is read."""
    about = {"date": "2026-11-27T23:49:21+00:00", "machine": {"cpu": "a"}, "versions": {"python": "3"}}
    path.write_text(json.dumps({**about, "clip": {"name": "sample bunny"}, "entries": entries}))
    return path


@pytest.fixture
def reports(tmp_path):
    sets = [
        evaluation(tmp_path / "v.json", "validation", **{"default": 0.70004, INT8: 0.68, "opencv-mil": 0.4}),
        evaluation(tmp_path / "s.json", "sequences", runs=1, **{INT8: 0.79, "default": 0.75}),
    ]
    timed = (
        entry("default.trk", 12.34567),
        entry("default.trk", 99.0, threads=2),
        entry("default.trk", 98.0, targets=4),
        entry(f"{INT8}.trk", 8.0),
        entry("opencv-mil", 40.0),
    )
    return sets, speeds(tmp_path / "b.json", *timed)


def test_reports_meet_by_the_bundles_names(reports):
    evaluations, speed = reports
    found = overview(["default", "int8", str(default_bundle())], evaluations, speed)
    first, second, third = found["models"]
    assert first == third  # by name or by path
    assert first["bundle"] == "default"
    assert first["overlap"] == {"validation": 0.7, "sequences": 0.75}
    assert first["ms"] == 12.3457  # one thread, one target
    assert (second["bundle"], second["ms"]) == (INT8, 8.0)
    assert second["overlap"] == {"validation": 0.68, "sequences": 0.79}
    assert 1e6 < second["bytes"] < first["bytes"] < 1e7
    assert first["parameters"] > 1e5
    assert "Apache-2.0" in first["licence"]
    assert (found["clip"], found["runs"], found["machine"]) == ("sample bunny", [4, 1], {"cpu": "a"})


def test_the_table_has_the_best_overlap_last(reports, tmp_path, capsys):
    (validation, sequences), speed = reports
    out = tmp_path / "overview.json"
    words = ["int8", "default", "--eval", str(validation), "--eval", str(sequences), "--speed", str(speed)]
    assert main([*words, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| model | overlap, validation | overlap, sequences | ms a frame | MB |")
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split("|")[2:5] for line in lines[2:]] == [
        [" 0.700 ", " 0.750 ", " 12.3 "],
        [" 0.680 ", " 0.790 ", " 8.0 "],
    ]
    kept = json.loads(out.read_text())
    assert [model["bundle"] for model in kept["models"]] == [INT8, "default"]  # as they were named
    # With one set alone the other is the best.
    assert main([*words[:4], "--speed", str(speed)]) == 0
    assert [line.split("|")[2] for line in capsys.readouterr().out.splitlines()[2:]] == [" 0.680 ", " 0.700 "]


def test_what_is_missing_is_told_in_a_line(reports, tmp_path, capsys):
    (validation, _), speed = reports

    def said(*bundles, evaluated=validation, timed=speed):
        assert main([*bundles, "--eval", str(evaluated), "--speed", str(timed)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        return printed.err

    failed = evaluation(tmp_path / "f.json", "sequences", **{"default": 0.7, INT8: None})
    only_mil = speeds(tmp_path / "m.json", entry("opencv-mil", 40.0))
    assert "no bundle" in said("default", str(tmp_path / "none.trk"))
    assert f"sequences has nothing of {INT8}: it has default" in said("int8", evaluated=failed)
    assert "m.json has nothing of default: it has opencv-mil" in said("default", timed=only_mil)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", "3", "\xff"])
def test_files_that_are_no_reports_are_refused(text, reports, tmp_path, capsys):
    (validation, _), speed = reports
    path = tmp_path / "wrong.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    for evaluated, timed, command in ((path, speed, "trk-eval"), (validation, path, "trk-bench")):
        assert main(["default", "--eval", str(evaluated), "--speed", str(timed)]) == 2
        printed = capsys.readouterr().err
        assert printed.startswith(str(path))
        assert f"{command} --json" in printed
        assert printed.count("\n") == 1


def test_reports_that_changed_places_are_refused(reports, capsys):
    (validation, _), speed = reports
    assert main(["default", "--eval", str(speed), "--speed", str(validation)]) == 2
    assert capsys.readouterr().err == f"{speed} is no report of trk-eval --json\n"
