"""The loss of `models.light` on cached features: quality focal over all cells, GIoU over those of the target."""

import torch
from torch import Tensor

from ..models.light import LightNet
from .batches import FeatureBatch
from .labels import IGNORED, POSITIVE, point_truth
from .losses import giou, quality_focal

STRIDE = 8
BOX_WEIGHT = 2.0


def light_loss(net: LightNet, batch: FeatureBatch) -> dict[str, Tensor]:
    """Return the parts of the loss, "loss" their sum, and "overlap", the mean over positive cells, to watch."""
    shallow, deep, mean = batch.template
    kernels = net.heads_template(shallow, deep, mean, batch.size)
    cls, _, loc = net.heads_search(batch.search[0], batch.search[1], *kernels)
    # In mixed precision the maps are halves: losses are taken in full.
    return maps_loss(cls.float(), loc.float(), batch.target, batch.present)


def maps_loss(cls: Tensor, loc: Tensor, target: Tensor, present: Tensor) -> dict[str, Tensor]:
    """Return the same of maps cls [N, 1, S, S] (logits), loc [N, 4, S, S], target [N, 4] and present [N]."""
    truth, labels = point_truth(cls.shape[-1], STRIDE, target)
    labels = torch.where(present.reshape(-1, 1, 1), labels, torch.zeros_like(labels))
    positive = labels == POSITIVE
    ours, theirs = (maps.permute(0, 2, 3, 1)[positive] for maps in (loc, truth))
    generalised, overlap = giou(ours, theirs)
    quality = torch.zeros_like(cls[:, 0])
    quality[positive] = overlap.detach().clamp(0.0, 1.0)
    focal = quality_focal(cls[:, 0], quality, (labels != IGNORED).float())
    box = (1.0 - generalised).mean() if len(generalised) else loc.sum() * 0.0
    mean = overlap.detach().mean() if len(overlap) else torch.zeros(())
    return {"loss": focal + BOX_WEIGHT * box, "focal": focal.detach(), "box": box.detach(), "overlap": mean}
