"""How large a target shows in the crops of a model: what its geometry says, for crops that are cut in training."""

import numpy as np
from numpy.typing import NDArray

from ..engine.geometry import Extent, Geometry
from ..engine.manifest import Search
from ..engine.target import Motion
from ..errors import UsageError
from .tracks import Box, Image

Scale = tuple[float, float]
"""Crop pixels per pixel of the picture, across and down."""


class Scales:
    """The scales of template and search crops of one geometry."""

    def __init__(self, geometry: Geometry, search_size: int):
        search = Search(file="search.onnx", inputs=(), outputs=(), size=search_size)
        self.template_size, self.search_size = geometry.template_size, search_size
        self._motion = Motion(geometry, (search,))
        self.fill = BLACK if geometry.crop.fill == "black" else None

    def template(self, image: Image, box: Box) -> Scale:
        """Return the scale of the template crop of `box` in `image`."""
        return _scale(self.template_size, self._motion.template_extent(self._motion.start(box, BLACK, _size(image))))

    def search(self, image: Image, box: Box) -> Scale:
        """Return the scale of the search crop of a target that fills `box`."""
        return _scale(self.search_size, self._motion.search_extent(self._motion.start(box, BLACK, _size(image)), 0))


def square_scales(geometry: Geometry, sides: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scales [N], of template and search crops alike, of many targets of w, h `sides` [N, 2].

    Raises UsageError where the crops of `geometry` are no plain squares around a target as it is.
    """
    if geometry.box_context or geometry.round_exemplar or geometry.limits.whole_pixels:
        raise UsageError("crops of this model are no plain squares: it can't be trained on pictures kept on a device")
    context = geometry.context_amount * sides.sum(1, keepdims=True)
    return np.asarray(geometry.exemplar_size / np.sqrt((sides + context).prod(1)), np.float64)


BLACK = (0.0, 0.0, 0.0)


def _size(image: Image) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _scale(pixels: int, extent: Extent) -> Scale:
    width, height, _, _ = extent
    return pixels / width, pixels / height
