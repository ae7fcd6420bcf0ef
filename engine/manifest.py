"""bundle.json: what a bundle holds, validated before anything of it is used."""

from collections import Counter
from collections.abc import Iterable
from operator import itemgetter
from re import ASCII, fullmatch
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..errors import ModelError
from .confidence import Calibration
from .geometry import Geometry, Rule
from .params import check_params
from .signature import check_signature

SCHEMA_VERSION = 1
MANIFEST_NAME = "bundle.json"


class Tensor(Rule):
    """One input or output of a graph."""

    name: str
    dtype: Literal["uint8", "float32", "float16", "int32", "int64"]
    shape: tuple[Annotated[int, Field(ge=1, le=1 << 31)], ...]


class File(Rule):
    """A file of the bundle and how to tell that it is whole."""

    name: str = Field(max_length=200)
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, name: str) -> str:
        # On Windows, and in a zip, more than "/" leads out: names are plain ones.
        if not fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", name, ASCII):
            raise ValueError(f"file name {name!r} is not a plain name inside the bundle")
        return name


class Graph(Rule):
    """One ONNX graph."""

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    external: tuple[str, ...] = ()
    """Files beside the graph that hold weights of it (ONNX external data)."""


class _Searching(Graph):
    """A graph that searches."""

    @model_validator(mode="before")
    @classmethod
    def _without_frame(cls, data: Any) -> Any:
        # Older bundles may name a twin here that cuts its crops by itself: the engine does that.
        return {key: value for key, value in data.items() if key != "frame"} if isinstance(data, dict) else data


class Batch(_Searching):
    """A search graph for several targets at once: the first axis of crop, kernels, size and results is theirs."""

    targets: int = Field(ge=2, le=1024)


class Search(_Searching):
    """A search graph: one size of search crop, and when it is the one to run."""

    size: int = Field(ge=16, le=4096)
    when: Literal["always", "small_target", "lost"] = "always"
    params: dict[str, float] = {}
    """Parameters that differ from the bundle's while this graph runs."""
    batches: tuple[Batch, ...] = ()
    """The same for more than one target, by their number."""


class Weights(Rule):
    """Where the weights came from, and on which terms."""

    origin: Literal["checkpoint", "shipped", "random"]
    file: str | None = None
    sha256: str | None = None
    seed: int | None = None
    licence: str
    notice: str = ""


class Parity(Rule):
    """Largest difference between the exported graphs and PyTorch, measured at export on a real crop."""

    crop: str
    outputs: dict[str, float]
    limits: dict[str, float]


class HalfPrecision(Rule):
    """What of an FP16 bundle is FP16, and what was measured for that on real crops."""

    wide: dict[str, str] = {}
    """Layers that stay in FP32, and why."""
    wide_share: float = Field(ge=0, le=1)
    """Share of a frame's multiply-adds in FP32."""
    ranges: dict[str, float]
    """Largest absolute value at each layer, in FP32."""
    box_drift: float
    """Mean change of the box's overlap with the target, against FP32."""
    map_drift: float
    """Largest root mean square difference of a map from FP32, by the map's standard deviation."""


class Manifest(Rule):
    """All that the engine has to know about a bundle."""

    schema_version: int
    model: str
    variant: str
    title: str
    paper: str
    source: str
    family: str
    precision: Literal["fp32", "fp16", "int8"]
    correlation: str = Field(default="grouped", max_length=40)
    """How the graphs write correlations: what the kernels' shapes follow from."""
    opset: int
    batch: int = Field(default=1, ge=1, le=1024)
    geometry: Geometry
    template: Graph
    searches: tuple[Search, ...] = Field(min_length=1)
    params: dict[str, float]
    """Hyper-parameters, in the order of the graphs' `params` input."""
    presets: dict[str, dict[str, float]] = {}
    preset: str
    weights: Weights
    parity: Parity
    half: HalfPrecision | None = None
    cost: dict[str, float] = {}
    """Parameters, and multiply-adds of both branches, counted at export."""
    versions: dict[str, str] = {}
    calibration: Calibration | None = None
    """What turns scores into probabilities; None until `trk-calibrate` was run."""
    template_rate: float = Field(default=0.0, ge=0, le=1)
    """Rate at which the template follows the target's appearance, once the bundle is calibrated."""
    on_lost: Literal["follow", "hold", "search", "stop"] = "follow"
    """What a tracker does while its target is lost, once the bundle is calibrated."""
    files: tuple[File, ...]

    @property
    def graphs(self) -> list[Graph]:
        """All graphs: the template's, then each search graph with its forms for several targets."""
        return [self.template, *(graph for search in self.searches for graph in (search, *search.batches))]

    @field_validator("schema_version")
    @classmethod
    def _known_schema(cls, version: int) -> int:
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"schema version {version}: this trk reads version {SCHEMA_VERSION}; update trk, or export it again"
            )
        return version

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        _once("file", (file.name for file in self.files))
        _once("search graph for", (search.when for search in self.searches))
        listed = {file.name for file in self.files}
        for search in self.searches:
            _once(f"graph of {search.file} for", (f"{batch.targets} targets" for batch in search.batches))
        for graph in self.graphs:
            for name in (graph.file, *graph.external):
                if name not in listed:
                    raise ValueError(f"{name!r} of a graph is not among the listed files")
        if self.searches[0].when != "always":
            raise ValueError("the first search graph has to be the one that always applies")
        for name, values in (
            ("params", self.params),
            *self.presets.items(),
            *((s.file, s.params) for s in self.searches),
        ):
            unknown = set(values) - set(self.params)
            if unknown:
                raise ValueError(f"{name}: unknown parameter {sorted(unknown)[0]!r}")
            try:
                check_params({**self.params, **values})
            except ModelError as error:
                raise ValueError(f"{name}: {error}") from None
        check_signature(self)
        return self


def _once(what: str, names: Iterable[str]) -> None:
    name, times = max(Counter(names).items(), key=itemgetter(1), default=("", 0))
    if times > 1:
        raise ValueError(f"{what} {name!r} is listed {times} times")
