"""Which network to export, and where its weights come from: a checkpoint, or what ships with trk."""

from pathlib import Path

from ..engine.manifest import Weights
from ..errors import CheckpointError
from ..models.network import SiameseNet
from ..models.registry import find
from ..models.row import Row
from ..weights.checkpoint import read_checkpoint
from ..weights.recognise import load_into, recognise
from ..weights.shipped import shipped_weights


def choose(model: str | None, variant: str | None, weights: Path | None) -> tuple[Row, SiameseNet, Weights]:
    """Return the row, its network with weights loaded, and where they came from.

    With a checkpoint and no model, or no variant, the keys tell which row it is. Without a checkpoint the weights that
    ship for the row are taken. Raises ModelError, CheckpointError.
    """
    if weights is None:
        return _shipped(find(model or "", variant))
    checkpoint = read_checkpoint(weights)
    row = find(model, variant) if model and variant else recognise(checkpoint, model)
    net = row.build()
    load_into(net, checkpoint)
    licence = row.checkpoint.licence if row.checkpoint else "not known to trk"
    stated = checkpoint.about.get("licence")
    provenance = Weights(
        origin="checkpoint",
        file=checkpoint.file,
        sha256=checkpoint.sha256,
        licence=stated or licence,
        notice="" if stated else _notice(row),
    )
    return row, net, provenance


def _notice(row: Row) -> str:
    notice = f"weights as published by {row.source}, if this is upstream's file"
    return f"{notice}\n\n{row.checkpoint.notice}" if row.checkpoint and row.checkpoint.notice else notice


def _shipped(row: Row) -> tuple[Row, SiameseNet, Weights]:
    if row.shipped is None:
        where = (
            f"upstream publishes {row.checkpoint.file} ({row.checkpoint.where}): give it as --weights"
            if row.checkpoint
            else "none are published"
        )
        raise CheckpointError(
            f"no weights ship with trk for {row.name}: {where}, or export --random ones to measure speed"
        )
    shipped = shipped_weights(row.shipped)
    checkpoint = read_checkpoint(shipped.path)
    net = row.build()
    load_into(net, checkpoint)
    provenance = Weights(
        origin="shipped", file=checkpoint.file, sha256=checkpoint.sha256, licence=shipped.licence, notice=shipped.notice
    )
    return row, net, provenance
