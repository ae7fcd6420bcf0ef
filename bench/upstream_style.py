"""A bundle's network run as its upstream repository runs it: the baseline of every speed-up that trk claims.

The same weights, in PyTorch eager, folded or merged only where upstream does it; what upstream caches is cached, the
rest repeated; frames are padded and maps decoded as upstream does. Needs PyTorch, unlike the bundle.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from ..engine.bundle import Bundle
from ..errors import BackendError, CheckpointError, UsageError
from ..export.random_weights import randomise
from ..export.reference import reference_crops
from ..models.fear import Fear
from ..models.lightfc import LightFC
from ..models.network import SiameseNet
from ..models.registry import find
from ..models.row import Row
from ..models.siamdw import SiamDWFC
from ..models.siamfc import SiamFC
from ..weights.checkpoint import read_checkpoint
from ..weights.recognise import load_into
from ..weights.shipped import shipped_weights
from .upstream_light import FearTracker, LightFCTracker
from .upstream_networks import STYLES, EagerNetwork
from .upstream_trackers import ProposalTracker, SiamDWFCTracker, SiamFCTracker, UpstreamTracker

TRACKERS: dict[type[SiameseNet], type[UpstreamTracker]] = {
    SiamFC: SiamFCTracker,
    SiamDWFC: SiamDWFCTracker,
    LightFC: LightFCTracker,
    Fear: FearTracker,
}
"""Networks whose tracker is not the proposal tracker that all others share."""


def upstream_style(
    bundle: Bundle,
    net: SiameseNet,
    params: dict[str, float] | None = None,
    gradients: bool | None = None,
    device: str = "cpu",
    compiled: bool = False,
) -> UpstreamTracker:
    """Return the tracker of `net`, which is the network of `bundle` (see `network_of`), as upstream runs it.

    `params` are the hyper-parameters, None the bundle's. `gradients`: whether gradients are recorded while tracking,
    None as upstream does. `device`: "cpu" or "cuda", where `net` is moved to. `compiled`: by torch.compile. Raises
    UsageError where no upstream code runs such a network, BackendError where PyTorch has no such device.
    """
    manifest = bundle.manifest
    if type(net) not in STYLES or manifest.geometry.hysteresis is not None:
        raise UsageError(
            f"there is no upstream style of {manifest.model}/{manifest.variant}: leave --against out, or take a bundle "
            "of SiamFC, SiamRPN, SiamRPN++ (short-term), DaSiamRPN, SiamDW, NanoTrack, LightFC or FEAR"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            "upstream style on device 'cuda' was asked for and this PyTorch sees no GPU: install a driver and a CUDA "
            "build of PyTorch, or choose --device cpu"
        )
    tracker = TRACKERS.get(type(net), ProposalTracker)
    network = EagerNetwork(net, gradients, device, compiled)
    return tracker(network, manifest, dict(manifest.params if params is None else params))


def network_of(bundle: Bundle, checkpoints: Sequence[Path] = ()) -> SiameseNet:
    """Return the PyTorch network with the weights of `bundle`.

    Random weights are made again from the manifest's seed, shipped ones are read; a checkpoint has to be among
    `checkpoints`, where its SHA-256 finds it. Raises CheckpointError, ModelError.
    """
    manifest = bundle.manifest
    row = find(manifest.model, manifest.variant)
    net = row.build().eval()
    if manifest.weights.origin == "random":
        crops = reference_crops(manifest.geometry, manifest.searches, manifest.params.get("scale_step", 1.0))
        randomise(net, manifest.weights.seed or 0, crops, row.channels)
    else:
        _load(net, row, bundle, checkpoints)
    return net


def _load(net: SiameseNet, row: Row, bundle: Bundle, paths: Sequence[Path]) -> None:
    weights = bundle.manifest.weights
    if weights.origin == "shipped" and row.shipped is not None:
        paths = [shipped_weights(row.shipped).path]
    for path in paths:
        checkpoint = read_checkpoint(path)
        if checkpoint.sha256 == weights.sha256:
            load_into(net, checkpoint)
            return
    given = f"not {', '.join(path.name for path in paths)}" if paths else "give it as --weights"
    raise CheckpointError(
        f"{bundle.path} was exported from {weights.file} (SHA-256 {(weights.sha256 or 'unknown')[:12]}...): these "
        f"weights are needed to run it upstream-style, {given}"
    )
