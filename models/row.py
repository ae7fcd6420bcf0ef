"""A row of the registry: all that is particular to one variant of one model, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import nn

from .network import SiameseNet
from .published import Published


@dataclass(frozen=True)
class SearchSize:
    """One size of search crop, and when it applies: "always", "small_target" or "lost"."""

    size: int
    when: str = "always"
    params: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """Hyper-parameters for one benchmark, as published, or "tuned" by trk; crops where they differ from the row's."""

    params: Mapping[str, float] = field(default_factory=dict)
    searches: tuple[SearchSize, ...] | None = None
    geometry: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """Where upstream publishes weights for a row, and on which terms."""

    file: str
    where: str
    licence: str
    notice: str = ""
    """Text that the licence wants to go with the weights."""


@dataclass(frozen=True)
class Row:
    """One variant of one model.

    `build` makes the network, its official key names inside; `step(map_side, search_size)` the family's step for maps
    of that side. `geometry` is what the engine needs to cut crops and to move the target, in the words of the
    manifest. `params` are the defaults of the step's hyper-parameters, in its order: the paper's, or upstream's where
    the paper gives none. Every row has the preset "default", which changes nothing.
    """

    model: str
    variant: str
    title: str
    paper: str
    source: str
    family: str
    build: Callable[[], SiameseNet]
    step: Callable[[int, int], nn.Module]
    searches: tuple[SearchSize, ...]
    params: Mapping[str, float]
    geometry: Mapping[str, Any] = field(default_factory=dict)
    channels: str = "BGR"
    presets: Mapping[str, Preset] = field(default_factory=lambda: {"default": Preset()})
    preset: str = "default"
    checkpoint: Checkpoint | None = None
    published: tuple[Published, ...] = ()
    shipped: str | None = None
    """File in weights/ that ships with trk."""
    notes: str = ""
    template_rate: float = 0.0
    """Rate at which the template follows the target's appearance; 0 in every upstream."""
    on_lost: Literal["follow", "hold", "search", "stop"] = "follow"
    """What a calibrated bundle does while its target is lost; every upstream goes on as if nothing were."""

    @property
    def name(self) -> str:
        """`model/variant`, as commands print it."""
        return f"{self.model}/{self.variant}"

    def searches_for(self, preset: str) -> tuple[SearchSize, ...]:
        """Return the search crops of a preset: its own, or the row's."""
        return self.presets[preset].searches or self.searches

    def recentred(self) -> "Row":
        """This row with what rounding moved a crop by added back to its boxes, which no upstream does.

        Crops are whole pixels. PySOT and NanoTrack round their origin down, so that a target shows half a pixel to the
        lower right on average, and is reported there.
        """
        return replace(self, geometry={**self.geometry, "crop": {**self.geometry.get("crop", {}), "recentre": True}})

    def geometry_for(self, preset: str) -> dict[str, Any]:
        """Return the geometry of a preset: the row's with what the preset changes."""
        return {**self.geometry, **self.presets[preset].geometry}
