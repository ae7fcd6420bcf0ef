"""bundle.json: what a bundle holds, validated before anything of it is used."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from .geometry import Geometry, Rule

SCHEMA_VERSION = 1
MANIFEST_NAME = "bundle.json"


class Tensor(Rule):
    """One input or output of a graph."""

    name: str
    dtype: Literal["uint8", "float32", "float16", "int32", "int64"]
    shape: tuple[int, ...]


class File(Rule):
    """A file of the bundle and how to tell that it is whole."""

    name: str
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, name: str) -> str:
        parts = name.split("/")
        if not name or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"file name {name!r} leaves the bundle")
        return name


class Graph(Rule):
    """One ONNX graph."""

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Search(Graph):
    """A search graph: one size of search crop, and when it is the one to run."""

    size: int = Field(ge=16, le=4096)
    when: Literal["always", "small_target", "lost"] = "always"
    params: dict[str, float] = {}
    """Parameters that differ from the bundle's while this graph runs."""


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
    opset: int
    batch: int = Field(default=1, ge=1)
    geometry: Geometry
    template: Graph
    searches: tuple[Search, ...] = Field(min_length=1)
    params: dict[str, float]
    """Hyper-parameters, in the order of the graphs' `params` input."""
    presets: dict[str, dict[str, float]] = {}
    preset: str
    weights: Weights
    parity: Parity
    cost: dict[str, float] = {}
    """Parameters, and multiply-adds of both branches, counted at export."""
    versions: dict[str, str] = {}
    files: tuple[File, ...]

    @field_validator("schema_version")
    @classmethod
    def _known_schema(cls, version: int) -> int:
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema version {version}: this trk reads version {SCHEMA_VERSION}")
        return version

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        listed = {file.name for file in self.files}
        for graph in (self.template, *self.searches):
            if graph.file not in listed:
                raise ValueError(f"graph {graph.file!r} is not among the listed files")
        if self.searches[0].when != "always":
            raise ValueError("the first search graph has to be the one that always applies")
        for name, values in (("params", {}), *self.presets.items(), *((s.file, s.params) for s in self.searches)):
            unknown = set(values) - set(self.params)
            if unknown:
                raise ValueError(f"{name}: unknown parameter {sorted(unknown)[0]!r}")
        return self
