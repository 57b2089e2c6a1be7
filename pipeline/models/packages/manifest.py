"""What a model package says of itself: the network, its input, its classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.lattice import overlap_pixels
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.models.packages.geometry import PLAIN, OutputGeometry
from segment_tiles.pipeline.models.scaling.mlm import record_of
from segment_tiles.pipeline.models.scaling.scaling import Scaling

PROBABILITIES: Final = "probabilities"
"""Of a graph, in the details of its architecture: its answers are probabilities, and are taken as they are."""
GRAPH_FILES: Final = {
    "torchscript": "graph.torchscript",
    "torch_export": "graph.pt2",
    "onnx": "graph.onnx",
}
"""Name in a model package of a graph that brings its own network, by architecture."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that is needed to build the network before its weights are loaded."""

    arch: str
    """deeplabv1, deeplabv2, deeplabv3, deeplabv3plus, unet, segformer, or a packaged graph."""
    backbone: str
    """Name of the backbone, as timm spells it, or as ``backbones.py`` where timm has no such one."""
    output_stride: int = 16
    """Input pixels per feature pixel at the end of the backbone: 8, 16 or 32. HRNetV2: 32, of its coarsest branch."""
    atrous_rates: tuple[int, ...] = (6, 12, 18)
    """Rates of the ASPP branches at this output stride."""
    image_pooling: str = "off"
    """global, window or off; global makes a pixel depend on the whole tile."""
    image_pooling_window: int | None = None
    """Side of the fixed pooling window in feature pixels, for ``window``."""
    align_corners: bool = False
    """Of every bilinear resize in head and decoder."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of one family, such as channel counts or separable style."""

    @property
    def gives_probabilities(self) -> bool:
        """Whether what the network answers is taken as it is, and not for logits."""
        return self.details.get("activation") == PROBABILITIES

    @property
    def is_graph(self) -> bool:
        """Whether the package brings a graph, which runs as it is."""
        return self.arch in GRAPH_FILES


ALL_HEADS = "all"
"""What ``--head`` spells for one map of every head."""


@dataclass(frozen=True, slots=True)
class Head:
    """One of several outputs of a graph: a class map of its own."""

    name: str
    """As ``--head`` spells it."""
    classes: ClassTable
    """Codes, names and colours."""
    details: Mapping[str, Any]
    """Of the architecture: which output it is, and how it is called and read."""
    output_stride: int = 1
    """Of the architecture."""
    output: OutputGeometry = PLAIN
    """How it lies on a tile."""


@dataclass(frozen=True)  # without slots: its checksums are made once
class ModelManifest:
    """The contents of ``model.json``, parsed and checked."""

    name: str
    """Name of the model, lower case with hyphens."""
    architecture: Architecture
    """How to build the network."""
    bands: tuple[str, ...]
    """Names of the input bands, in order; their count is the number of input channels."""
    dtype: str
    """Type of the raster values that the model was trained on, such as uint8."""
    scaling: Scaling
    """What is done to the values before the network sees them."""
    tile: int
    """Side of a tile in pixels: what the model was trained for."""
    overlap: float
    """Recommended overlap of tiles as a fraction of the side."""
    classes: ClassTable
    """Codes, names and colours."""
    pixel_size: float | None = None
    """Pixel size that the model was trained at, in ``pixel_unit``."""
    pixel_unit: str = "m"
    """m, micrometer or millimeter."""
    description: str = ""
    """One paragraph for people: what it is for."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Scores, limits, training data and recipe, CRF parameters: kept as they are."""
    weights_checksum: str = ""
    """sha256 of the weights, hexadecimal; part of a run's fingerprint."""
    output: OutputGeometry = PLAIN
    """How the output of the network lies on a tile."""
    heads: tuple[Head, ...] = ()
    """All outputs of a graph that has several which are class maps; `classes` and `output` are of the first."""
    run_scaling: Scaling | None = None
    """Of a run: the scaling as its user and its source have it; None: as the package says."""

    def overlap_of(self, tile: int, fraction: float | None = None) -> int:
        """Return the overlap of tiles in pixels, from a fraction of their side or the recommended one.

        Raises
        ------
        UsageError
            If it leaves out pixels for which the model gives no scores.
        """
        fraction = self.overlap if fraction is None else fraction
        return overlap_pixels(tile, fraction, self.architecture.output_stride, self.output.margin)

    def with_head(self, name: str | None) -> ModelManifest:
        """Return what computes one of the heads: the manifest of a package that has this output alone.

        Parameters
        ----------
        name
            Of the head; None: the first.

        Raises
        ------
        UsageError
            If there is no such head.
        """
        if name is None:
            return self
        found = next((head for head in self.heads if head.name == name), None)
        if found is None:
            has = (
                f"has the heads {', '.join(head.name for head in self.heads)}"
                if self.heads
                else "has one output"
            )
            one = (
                "; all of them are runs of the commands run and batch, so name one here"
                if name == ALL_HEADS
                else ""
            )
            msg = f"--head is {name!r}; model {self.name} {has}{one}"
            raise UsageError(msg)
        return replace(
            self,
            architecture=replace(self.architecture, details=found.details, output_stride=found.output_stride),
            classes=found.classes,
            output=found.output,
            # neighbours share at least what neither of them scores
            overlap=max(self.overlap, 2 * found.output.margin / self.tile),
        )

    @property
    def tables(self) -> tuple[ClassTable, ...]:
        """Classes of every head; those of the model if it has one output."""
        return tuple(head.classes for head in self.heads) or (self.classes,)

    def of_checksum(self, checksum: str) -> ModelManifest | None:
        """Return what computes the head with this `map_checksum`; None if none has it."""
        ways = (self, *(self.with_head(head.name) for head in self.heads))
        return next((one for one in ways if one.map_checksum == checksum), None)

    @property
    def scaling_used(self) -> Scaling:
        """What is done to values, in this run."""
        return self.scaling if self.run_scaling is None else self.run_scaling

    def with_units(self, scale_offsets: tuple[tuple[float, float], ...]) -> ModelManifest:
        """Return what scales values of bands with scale and offset: a model that wants physical ones gets them."""
        scaling = self.scaling_used
        if scaling.values == "stored" or not scale_offsets:
            return self
        return replace(self, run_scaling=replace(scaling, units=scale_offsets))

    def without_scene(self) -> ModelManifest:
        """Return what can be measured where there is no scene whose statistics could count."""
        return replace(self, scaling=self.scaling.of_tiles())

    @property
    def mean(self) -> tuple[float, ...]:
        """Of a package with a fixed z-score: per band, in the units of the raster's values."""
        return tuple(mean for mean, _ in self._z_scores())

    @property
    def std(self) -> tuple[float, ...]:
        """Of a package with a fixed z-score: per band, in the units of the raster's values."""
        return tuple(std for _, std in self._z_scores())

    def _z_scores(self) -> list[tuple[float, float]]:
        if not self.scaling.is_fixed_z_score:
            msg = f"model {self.name} has no mean and standard deviation: its scaling is {self.scaling}"
            raise ModelError(msg)
        chains = self.scaling.of_bands(len(self.bands))
        return [(float(chain[0].first or 0.0), float(chain[0].second or 0.0)) for chain in chains]

    @cached_property
    def network_checksum(self) -> str:
        """sha256 of all that decides what the network computes: the same weights run at several output strides.

        Empty if the weights have none, as those of a network that is no package.
        """
        described = [asdict(self.architecture), len(self.bands), self.classes.count]
        return _checksum([self.weights_checksum, *described]) if self.weights_checksum else ""

    @cached_property
    def map_checksum(self) -> str:
        """sha256 of all that decides a map of given tiles: the network, what it is fed, and what its classes are.

        Name and description are not in it, nor tile and overlap, which a run may choose.
        """
        fields = {name: value for name, value in asdict(self).items() if name not in _NOT_OF_THE_MAP}
        del fields["output"]
        # polygons alone depend on how classes become objects
        fields["classes"] = {"classes": fields["classes"]["classes"]}
        if self.output.said:  # what a package leaves as it is changes no checksum, if fields are added later
            fields["output"] = self.output.said
        if self.scaling.is_fixed_z_score:
            return _checksum({**fields, "mean": self.mean, "std": self.std})
        return _checksum({**fields, "scaling": record_of(self.scaling)})

    @cached_property
    def calibration_checksum(self) -> str:
        """sha256 of all that decides on what numbers the network computes: its own, and a scaling of the user's."""
        bands = len(self.bands)
        used, own = self.scaling_used.declared(bands), self.scaling.declared(bands)
        if (used.chains, used.values) == (own.chains, own.values) or not self.network_checksum:
            return self.network_checksum
        return _checksum([self.network_checksum, record_of(used)])


_NOT_OF_THE_MAP: Final = frozenset(
    {"name", "description", "tile", "overlap", "scaling", "heads", "run_scaling"}
)


def _checksum(values: Any) -> str:
    return sha256(json_text(values, sort_keys=True, indent=None).encode()).hexdigest()
