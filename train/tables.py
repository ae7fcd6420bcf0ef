"""The tables of what ships with trk, each made by one command, as JSON and as Markdown.

    python -m trk.train.tables accuracy SEQUENCES --nanotrack nanotrackv2.npz --out bench/results/accuracy.json
    python -m trk.train.tables speed --nanotrack nanotrackv2.npz --out bench/results/speed.json

Bundles of all shipped weights are exported, run in turn with OpenCV's trackers by one process on one thread, and thrown
away. A tracker that this OpenCV lacks is left out with the reason.
"""

import argparse
import json
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from ..bench.datasets import folder as plain
from ..bench.evaluate import Protocol, evaluate, plan
from ..bench.machine import load_average, machine, versions
from ..bench.ope import Run, sequences
from ..bench.peers import Spec, bundle_spec, peer_spec
from ..bench.speed import Entry, Plan, measure, read_clip
from ..bench.store import Store
from ..engine.tracker import Tracker
from ..errors import TrkError
from ..export.bundle import export_bundle
from ..export.weights import choose
from ..weights.clips import sample
from ..weights.shipped import BUNDLES, default_bundle
from .report import area_under_roc, judged, plot, table

SHIPPED = {"untrained": ("matching", "mobilenetv2"), "light": ("siamrpnpp", "light")}
"""Column: model and variant in the registry, beside the bundles that ship."""
PEERS = ("opencv:kcf", "opencv:mil", "opencv:csrt")
FRAMES = 60


def specs(folder: Path, nanotrack: Path | None, nanotrack_presets: tuple[str, ...]) -> list[Spec]:
    """Return every tracker that ships, and NanoTrack V2 of the weights `nanotrack`, once for each preset.

    They are exported into `folder`.
    """
    found = []
    wanted: list[tuple[str, str, str, Path | None, str | None]] = [(n, *row, None, None) for n, row in SHIPPED.items()]
    if nanotrack:
        for name in nanotrack_presets:
            label = "nanotrackv2" if name == "default" else f"nanotrackv2 {name}"
            wanted.append((label, "nanotrack", "v2", nanotrack, name))
    for label, model, variant, weights, preset in wanted:
        row, net, provenance = choose(model, variant, weights)
        export_bundle(row, folder / label, net, provenance, preset=preset)
        found.append(bundle_spec(folder / label, label, threads=1))
    return [*(bundle_spec(default_bundle(name), name, threads=1) for name in BUNDLES), *found]


def accuracy(folder: Path, trackers: list[Spec], store: Store) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Return the runs of each tracker over the sequences of `folder`, and why others have none."""
    read = [plain.read(path) for path in sequences(folder)]
    runs: dict[str, list[Run]] = {}
    skipped: dict[str, str] = {}
    for spec in trackers:
        try:
            done = list(evaluate(plan([spec], read, Protocol()), store, Protocol()))
        except TrkError as error:
            skipped[spec.label] = str(error)
            continue
        failed = [f"{one.job.sequence.name}: {one.error}" for one in done if one.run is None]
        if failed:
            skipped[spec.label] = "; ".join(failed)
            continue
        found = {one.run.name: one.run for one in done if one.run is not None}
        runs[spec.label] = [found[sequence.name] for sequence in read]
    return runs, skipped


def accuracy_json(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Return figures of each tracker: mean overlap, area under the ROC of its score, mean overlap by sequence."""
    return {
        label: {
            "mean_overlap": round(float(np.mean([run.mean_overlap for run in found])), 4),
            "lost_area_under_roc": None if label.startswith("opencv") else round(area_under_roc(*judged(found)[:2]), 4),
            "sequences": {run.name: round(run.mean_overlap, 4) for run in found},
        }
        for label, found in runs.items()
    }


def speed_json(trackers: list[Spec], rounds: int) -> dict[str, Any]:
    """Return milliseconds a frame of each bundle on the sample clip, everything but decoding, taking turns."""
    demo = sample()
    clip = read_clip(demo.video, demo.init_box, start=demo.init_frame, frames=FRAMES)
    entries = [Entry(spec.label, "bundle", 1, Tracker(spec.target, threads=1)) for spec in trackers]
    found = {}
    for one in measure(entries, clip, Plan(rounds=rounds)).measured:
        wall, cpu = 1e3 * one.total(), 1e3 * np.concatenate(one.cpu_seconds())
        found[one.entry.label] = {
            "wall_ms": {
                "median": round(float(np.median(wall)), 2),
                "quartile": round(float(np.quantile(wall, 0.25)), 2),
            },
            "cpu_ms": {"median": round(float(np.median(cpu)), 2), "quartile": round(float(np.quantile(cpu, 0.25)), 2)},
            "fps_of_cpu_median": round(1e3 / float(np.median(cpu)), 1),
        }
    return {"clip": clip.name, "size": list(clip.frames[0].shape[1::-1]), "frames": len(clip.frames), "trackers": found}


def speed_table(found: dict[str, Any]) -> str:
    """Return a Markdown table of what `speed_json` returned."""
    lines = ["| tracker | CPU ms a frame | wall ms a frame | frames a CPU second |", "|---|---|---|---|"]
    for label, one in found["trackers"].items():
        lines.append(
            f"| {label} | {one['cpu_ms']['median']} | {one['wall_ms']['median']} | {one['fps_of_cpu_median']} |"
        )
    return "\n".join(lines) + "\n"


def _command_line(options: argparse.Namespace) -> str:
    """Return the command that makes this table; files by their names."""
    words = [options.what]
    if options.what == "accuracy":
        words += [options.sequences.name, *(["--no-peers"] if options.no_peers else [])]
    else:
        words += ["--rounds", str(options.rounds)]
    words += ["--nanotrack", options.nanotrack.name] if options.nanotrack else []
    return shlex.join(["python", "-m", "trk.train.tables", *words])


def main(arguments: list[str] | None = None) -> int:
    """Make one of the tables."""
    parser = argparse.ArgumentParser(prog="python -m trk.train.tables", description="Accuracy and speed tables.")
    parser.add_argument("what", choices=("accuracy", "speed"))
    parser.add_argument("sequences", type=Path, nargs="?", help="folder of sequences, for accuracy")
    parser.add_argument("--nanotrack", type=Path, help="published weights of NanoTrack V2")
    parser.add_argument("--plot", type=Path, help="draw score against overlap, of all but OpenCV's, for accuracy")
    parser.add_argument("--no-peers", action="store_true", help="leave OpenCV's trackers out")
    parser.add_argument("--rounds", type=int, default=5, help="passes through the clip, for speed")
    parser.add_argument("--runs", type=Path, help="folder that keeps runs: what is in it is not run again")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if options.what == "accuracy" and options.sequences is None:
        parser.error("accuracy of what? Name a folder of sequences")
    cv2.setNumThreads(1)
    before = load_average()
    with TemporaryDirectory() as folder:
        presets = ("default", "tuned") if options.what == "accuracy" else ("default",)  # as fast as each other
        ours = specs(Path(folder), options.nanotrack, presets)
        skipped: dict[str, str] = {}
        if options.what == "accuracy":
            peers = [] if options.no_peers else [peer_spec(text) for text in PEERS]
            store = Store(options.runs or Path(folder) / "runs")
            runs, skipped = accuracy(options.sequences, [*ours, *peers], store)
            found, text = accuracy_json(runs), table(runs)
            if options.plot:
                plot({label: one for label, one in runs.items() if not label.startswith("opencv")}, options.plot)
        else:
            found = speed_json(ours, options.rounds)
            text = speed_table(found)
    print(text, end="")
    for label, why in skipped.items():
        print(f"{label} is left out: {why}", file=sys.stderr)
    if options.out:
        about = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": _command_line(options),
            "machine": machine(),
            "load_average": {"before": before, "after": load_average()},
            "versions": {**versions(), "opencv": cv2.__version__},
            "skipped": skipped,
        }
        options.out.write_text(json.dumps({**about, options.what: found}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
