"""What a training package is made of, made on the spot: two clips, a folder of shards, a teacher and a student."""

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
from random_networks import network
from small_clips import picture, write_clip

from trk.models.registry import find
from trk.train.package import main
from trk.weights.checkpoint import write_safetensors

FRAMES = 12
STILLS = {"free": "permissive", "shown": "web", "closed": "research"}
"""Sources of the shards, and what they allow."""


def write_clips(folder: Path) -> Path:
    """Write two clips: "one", of two shots and with a track, and "two", of one shot, for research alone."""
    folder.mkdir(parents=True)
    write_clip(folder / "one.mp4", frames=FRAMES)
    write_clip(folder / "two.mp4", frames=FRAMES)
    one = {"file": "one.mp4", "source": "made", "shots": [[0, 6], [6, FRAMES]]}
    two = {"file": "two.mp4", "source": "lent", "shots": [[0, FRAMES]], "use": "research"}
    (folder / "clips.json").write_text(json.dumps([one, two]))
    boxes = [[20.0 + number, 30.0, 40.0, 30.0] for number in range(6)]
    (folder / "tracks.json").write_text(json.dumps([{"clip": "one.mp4", "frames": list(range(6)), "boxes": boxes}]))
    return folder


def write_stills(folder: Path) -> Path:
    """Write shards of three sources, two stills each: one zip of "free" alone, one of both others."""
    folder.mkdir(parents=True)
    rows = []
    for source in STILLS:
        shard = "a.zip" if source == "free" else "b.zip"
        with zipfile.ZipFile(folder / shard, "a") as stored:
            for number in range(2):
                member = f"{source}-{number}.png"
                stored.writestr(member, cv2.imencode(".png", picture(number, (100, 80)))[1].tobytes())
                row: dict[str, Any] = {"shard": shard, "member": member, "track": member, "source": source}
                rows.append(row | {"kind": "still", "x": 30, "y": 20, "w": 30, "h": 24, "frame": ""})
    with (folder / "index.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "sources.json").write_text(json.dumps([{"id": name, "use": use} for name, use in STILLS.items()]))
    return folder


def write_networks(folder: Path) -> tuple[Path, Path]:
    """Write random weights of a teacher and of a student."""
    folder.mkdir(parents=True)
    teacher, student = folder / "lightfc.safetensors", folder / "start.safetensors"
    write_safetensors(teacher, network("lightfc").state_dict(), {"model": find("lightfc").name})
    write_safetensors(student, find("slimfc").build().state_dict())
    return teacher, student


class Material:
    """All of it in one folder, and the command that packs it."""

    def __init__(self, folder: Path):
        self.clips, self.stills = write_clips(folder / "clips"), write_stills(folder / "stills")
        self.teacher, self.student = write_networks(folder / "networks")

    def pack(self, out: Path, *more: str) -> int:
        """Run the command; return its exit code."""
        given = ["--clips", self.clips, "--data", f"shards:{self.stills}", "--teacher", self.teacher]
        return main([str(word) for word in (*given, "--init", self.student, "--out", out, *more)])
