"""The interface of every tracker network: template crops become kernels, a search crop becomes maps."""

from typing import ClassVar

from torch import Tensor, nn


class SiameseNet(nn.Module):
    """A tracker network whose two branches can be run, and exported, apart.

    Attribute names inside a network are the official ones, so that published checkpoints load with
    `load_state_dict`. Nothing of a target is stored in the network: kernels go out and come back in.
    """

    kernel_names: tuple[str, ...]
    """Names of what `template` returns, in order, each beginning with "kernel_"."""

    map_names: tuple[str, ...]
    """Names of what `search` returns, in order: ("cls", "loc") or ("score",)."""

    template_takes_size: ClassVar[bool] = False
    """Whether `template` wants a second argument: the target's w, h [N, 2] in crop pixels."""

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the kernels, each [N, ...], of crops `z` [N, 3, T, T] float32, 0..255, in the model's colours."""
        raise NotImplementedError

    def kernels(self, z: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        """Return `template(z)`, with `size` for a network that takes it."""
        if self.template_takes_size:
            return self.template(z, size)  # type: ignore[call-arg]
        return self.template(z)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return the maps, each [N, C, S, S], of search crops `x` [N, 3, I, I] given the kernels of the N targets."""
        raise NotImplementedError

    def tracked(self) -> "SiameseNet":
        """Return the network as upstream's tracker runs it, where that is not how the checkpoint has it."""
        return self

    def fused(self) -> "SiameseNet":
        """Return an equal network that costs less (merged convolutions, folded weights); itself if there is none.

        The kernels may differ in number and shape from the plain network's; maps are equal up to rounding. Batch norm
        is not folded here: the exporter does that for every network.
        """
        return self
