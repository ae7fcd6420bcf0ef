"""A network whose correlations are written in another form, its template branch preparing the kernels for it."""

import copy

import torch
from torch import Tensor

from ..errors import ExportError
from ..models.correlation import GROUPED, Depthwise, correlations, set_form
from ..models.correlation_forms import FORMS
from ..models.network import SiameseNet
from .graphs import image
from .reference import Crops

Preparation = dict[int, tuple[Depthwise, int]]
"""Number of the kernel: the correlation that takes it, and how wide its search features are."""


def in_form(net: SiameseNet, form: str, crops: Crops, channels: str) -> SiameseNet:
    """Return `net` with its correlations in one of FORMS; `net` itself stays as it is.

    Raises ModelError where there is no such form, ExportError where its kernels would fit one size of search crop only
    and the model has several.
    """
    if form == GROUPED:
        return net
    net = copy.deepcopy(net)
    places = preparations(net, crops, channels) if form in FORMS and FORMS[form].prepare else {}
    set_form(net, form)
    return Prepared(net, places) if places else net


@torch.no_grad()
def preparations(net: SiameseNet, crops: Crops, channels: str) -> Preparation:
    """Return which kernels go into a depth-wise correlation as they come out of the template branch, and where."""
    template = [image(crops.template, channels), *([crops.size] if net.template_takes_size else [])]
    kernels = net.template(*template)
    places: Preparation = {}
    hooks = []
    for layer in correlations(net):
        if isinstance(layer, Depthwise):

            def seen(module: Depthwise, inputs: tuple[Tensor, Tensor]) -> None:
                x, kernel = inputs
                number = next((n for n, known in enumerate(kernels) if known is kernel), None)
                if number is None:
                    raise ExportError("a kernel is changed after the template branch: take another form of correlation")
                width = int(x.shape[3])
                if places.setdefault(number, (module, width))[1] != width:
                    raise ExportError(
                        "a banded kernel fits one size of search crop, and this model has several: "
                        "take another form of correlation"
                    )

            hooks.append(layer.register_forward_pre_hook(seen))
    try:
        for crop, _ in crops.searches:
            net.search(image(crop, channels), *kernels)
    finally:
        for hook in hooks:
            hook.remove()
    return places


class Prepared(SiameseNet):
    """A network whose template branch gives kernels as the form of its correlations wants them."""

    def __init__(self, net: SiameseNet, places: Preparation) -> None:
        super().__init__()
        self.net = net
        self.places = places
        self.kernel_names, self.map_names = net.kernel_names, net.map_names
        self.template_takes_size = net.template_takes_size  # type: ignore[misc]

    def template(self, z: Tensor, *size: Tensor) -> tuple[Tensor, ...]:
        """Return the kernels of `z`, those of depth-wise correlations prepared."""
        kernels = list(self.net.template(z, *size))
        for number, (layer, width) in self.places.items():
            kernels[number] = layer.prepared(kernels[number], width)
        return tuple(kernels)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of `x`."""
        return self.net.search(x, *kernels)
