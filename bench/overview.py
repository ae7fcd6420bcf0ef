"""Models side by side, to choose one by: overlap, milliseconds a frame, size and licence of the weights.

    trk-eval validation --runs 4 --bundle a.trk --bundle b.trk --json > validation.json
    trk-eval sequences --runs 4 --bundle a.trk --bundle b.trk --json > sequences.json
    trk-bench --threads 1 --bundle a.trk --bundle b.trk --json speed.json
    python -m trk.bench.overview --eval validation.json --eval sequences.json --speed speed.json a.trk b.trk --out FILE

Nothing is measured here: what these commands wrote is brought together, by the names of the bundles' files, without
.trk: so trk-eval and trk-bench call a bundle, whether it was named by its path or as default or int8.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.bundle import Bundle
from ..errors import TrkError, UsageError
from ..weights.shipped import bundle_path
from .store import write_text


def overview(bundles: Sequence[str], evaluations: Sequence[Path], speed: Path) -> dict[str, Any]:
    """Return what is known of each of `bundles`, and on which machine that was measured. Raises UsageError."""
    found = [_read(path, "trackers", "trk-eval") for path in evaluations]
    measured = _read(speed, "entries", "trk-bench")
    sets = {Path(one["data"]["folder"]).name: _overlaps(one) for one in found}
    times = {
        one["bundle"].removesuffix(".trk"): one["cpu"]["median_ms"]
        for one in measured["entries"]
        if one["threads"] == 1 and one["targets"] == 1
    }
    models = []
    for text in bundles:
        path = bundle_path(text)
        name, opened = path.name.removesuffix(".trk"), Bundle(path)
        manifest = opened.manifest
        opened.close()
        models.append(
            {
                "bundle": name,
                "title": manifest.title,
                "preset": manifest.preset,
                "overlap": {which: _of(overlaps, name, which) for which, overlaps in sets.items()},
                "ms": _of(times, name, speed.name),
                "bytes": sum(file.bytes for file in manifest.files),
                "parameters": manifest.cost.get("parameters"),
                "licence": manifest.weights.licence,
            }
        )
    about = {"machine": measured["machine"], "versions": measured["versions"], "clip": measured["clip"]["name"]}
    return {**about, "date": measured["date"], "runs": [one["runs"] for one in found], "models": models}


def table(found: Mapping[str, Any]) -> str:
    """Return `overview` as a Markdown table, the best overlap last."""
    sets = list(found["models"][0]["overlap"])
    header = ["model", *(f"overlap, {name}" for name in sets), "ms a frame", "MB", "licence of the weights"]
    lines = [header, ["---"] * len(header)]
    for one in sorted(found["models"], key=lambda model: sum(model["overlap"].values())):
        preset = "" if one["preset"] == "default" else f", preset `{one['preset']}`"
        preset += ": **the default**" if one["bundle"] == "default" else ""
        overlaps = [f"{value:.3f}" for value in one["overlap"].values()]
        size = f"{one['bytes'] / 1e6:.1f}"
        lines.append([f"{one['title']}{preset}", *overlaps, f"{one['ms']:.1f}", size, one["licence"].partition(";")[0]])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _read(path: Path, key: str, command: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read: {error}: give what {command} --json wrote") from None
    if not isinstance(found, dict) or key not in found:
        raise UsageError(f"{path} is no report of {command} --json")
    return found


def _overlaps(report: Mapping[str, Any]) -> dict[str, float]:
    # One that failed on every sequence has no figures.
    return {one["tracker"]: one["figures"]["ao"]["mean"] for one in report["trackers"] if one["figures"]}


def _of(values: Mapping[str, float], name: str, where: str) -> float:
    if name not in values:
        raise UsageError(f"{where} has nothing of {name}: it has {', '.join(values)}")
    return round(values[name], 4)


def main(arguments: list[str] | None = None) -> int:
    """Bring the reports together."""
    parser = argparse.ArgumentParser(prog="python -m trk.bench.overview", description="Models side by side.")
    parser.add_argument("bundles", nargs="+", help="bundles by path, or default, int8")
    parser.add_argument("--eval", action="append", type=Path, required=True, help="report of trk-eval --json")
    parser.add_argument("--speed", type=Path, required=True, help="report of trk-bench --json")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    try:
        found = overview(options.bundles, options.eval, options.speed)
        if options.out:
            write_text(options.out, json.dumps(found, indent=1) + "\n")
    except TrkError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
