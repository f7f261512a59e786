"""The U-Net: an encoder that learns what is in a slice or a volume, a decoder that says where.

After Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015 (arXiv:1505.04597), with padded
convolutions. Widths, depth, normalisation, dropout, upsampling and initialisation are
values of a recipe, so the reference projects' networks are this class too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .errors import RecipeError
from .recipe import Recipe

PRIOR = 0.01
"""The tumour probability that an untrained network starts from: about that of a pixel in a tumour slice."""


MEMORY_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}
"""How images and weights lie in memory, by dimensions: with channels last CPU and tensor cores convolve faster."""


class Conv3d(nn.Conv3d):
    """torch's own, in float32 for volumes of two slices on a processor, whose bfloat16 is wrong there.

    The weights' gradient of a 3×3×3 kernel is then off by as much as it is large, or NaN: oneDNN 3.12 of torch 2.13 on
    AVX-512, by measurement; of one slice, or three and more, it is right. Only a deepest stage is so flat.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] != 2 or x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


def layer(kind: str, dims: int) -> Callable[..., nn.Module]:
    """Return torch's layer of a kind: ``BatchNorm`` in 3 dimensions is ``BatchNorm3d``; ``Conv`` is :class:`Conv3d`."""
    return Conv3d if (kind, dims) == ("Conv", 3) else getattr(nn, f"{kind}{dims}d")


NORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "batch": lambda channels, dims: layer("BatchNorm", dims)(channels),
    "group": lambda channels, dims: nn.GroupNorm(math.gcd(8, channels), channels),
    "instance": lambda channels, dims: layer("InstanceNorm", dims)(channels, affine=True),
    "none": lambda channels, dims: nn.Identity(),
}
"""Normalisations of so many channels and dimensions, by the names that recipes use: over the batch (Ioffe and Szegedy,
2015), over groups of channels of one image (Wu and He, 2018), over each channel of one image, or nothing."""

UPSAMPLINGS = ("bilinear_conv", "bilinear", "bilinear_aligned", "transposed")
"""Ways to double the resolution: see :class:`DecoderStage`."""

INITIALISATIONS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "torch": None,
    "xavier": nn.init.xavier_uniform_,
    "he": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}
"""How a convolution's weights begin: torch's own (He et al. with a = √5, so smaller), Glorot and Bengio 2010,
He et al. 2015."""


class DoubleConv(nn.Sequential):
    """Two 3×3 convolutions, each normalised and rectified. (N, inputs, H, W) → (N, outputs, H, W).

    With ``dims`` 3 they are 3×3×3, here as everywhere below, and all shapes (N, channels, D, H, W).
    """

    def __init__(self, inputs: int, outputs: int, dropout: float = 0.0, norm: str = "batch", dims: int = 2) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            # the bias would be subtracted again by a normalisation that follows
            convolution = layer("Conv", dims)(channels, outputs, 3, padding=1, bias=norm == "none")
            layers += [convolution, NORMS[norm](outputs, dims), nn.ReLU(inplace=True)]
        if dropout:
            layers.append(layer("Dropout", dims)(dropout))
        super().__init__(*layers)


class DecoderStage(nn.Module):
    """Double the resolution, put the encoder's features beside, convolve twice.

    ``deep`` (N, inputs, H, W) and ``skip`` (N, skips, 2H, 2W) give (N, outputs, 2H, 2W).
    ``upsampling`` is ``"bilinear"`` (interpolation alone), ``"bilinear_aligned"`` (the same, corner
    pixels on corner pixels), ``"bilinear_conv"`` (a 1×1 convolution to as many channels as the skip
    has, then bilinear) or ``"transposed"`` (a learned 2×2 kernel painted with stride 2).
    """

    def __init__(
        self,
        inputs: int,
        skips: int,
        outputs: int,
        dropout: float = 0.0,
        norm: str = "batch",
        upsampling: str = "bilinear_conv",
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.mode = "trilinear" if dims == 3 else "bilinear"
        self.aligned = upsampling == "bilinear_aligned"
        self.reduce, self.enlarge, raised = nn.Identity(), None, skips
        if upsampling == "bilinear_conv":
            # a 1×1 convolution and bilinear upsampling commute: doing it first moves half the data
            self.reduce = layer("Conv", dims)(inputs, skips, 1, bias=False)
        elif upsampling == "transposed":
            self.enlarge = layer("ConvTranspose", dims)(inputs, skips, 2, stride=2)
        else:
            raised = inputs
        self.conv = DoubleConv(skips + raised, outputs, dropout, norm, dims)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        if self.enlarge is not None:
            deep = self.enlarge(deep)
        else:
            deep = F.interpolate(self.reduce(deep), skip.shape[2:], mode=self.mode, align_corners=self.aligned)
        return self.conv(torch.cat([skip, deep], dim=1))


class UNet(nn.Module):
    """Slices in, logits out: (N, inputs, H, W) float → (N, 1, H, W) float, one logit per pixel.

    Or volumes, with ``dims`` 3: (N, inputs, D, H, W) → (N, 1, D, H, W), one logit per voxel. The same class, because
    nothing differs but what its layers are called.

    ``widths`` are the channels of the encoder's stages, finest first, as many as the network
    is deep; there is one decoder stage fewer. ``norm``, ``upsampling`` and ``initialisation``
    are names of :data:`NORMS`, :data:`UPSAMPLINGS` and :data:`INITIALISATIONS`; an unknown one
    raises :class:`RecipeError`. With ``stem`` 2 the encoder begins with blocks of 2×2(×2) pixels, which one
    convolution turns into features, and a transposed one turns the decoder's last features into a logit for each
    pixel of a block. Any H and W work: what is not a multiple of the deepest stride is padded inside and cut off
    again.
    """

    def __init__(
        self,
        inputs: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128),
        dropout: float = 0.0,
        norm: str = "batch",
        upsampling: str = "bilinear_conv",
        initialisation: str = "torch",
        dims: int = 2,
        stem: int = 1,
    ) -> None:
        super().__init__()
        for what, name, known in (
            ("norm", norm, NORMS),
            ("upsampling", upsampling, UPSAMPLINGS),
            ("initialisation", initialisation, INITIALISATIONS),
        ):
            if name not in known:
                raise RecipeError(f"the network's {what} is {name!r}; use one of: {', '.join(known)}")
        self.stride = stem * 2 ** (len(widths) - 1)
        self.stem = nn.Identity()
        if stem > 1:
            blocks = layer("Conv", dims)(inputs, widths[0], stem, stride=stem, bias=norm == "none")
            self.stem = nn.Sequential(blocks, NORMS[norm](widths[0], dims), nn.ReLU(inplace=True))
        self.encoder = nn.ModuleList(
            DoubleConv(before, width, dropout, norm, dims)
            for before, width in zip((widths[0] if stem > 1 else inputs, *widths[:-1]), widths, strict=True)
        )
        self.pool = layer("MaxPool", dims)(2)
        self.decoder = nn.ModuleList(
            DecoderStage(deep, skip, skip, dropout, norm, upsampling, dims)
            for deep, skip in zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        )
        head = layer("Conv" if stem == 1 else "ConvTranspose", dims)
        self.head = head(widths[0], 1, stem, stride=stem)
        initialise(self, initialisation)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        # torch counts what it pads from the last axis to the first
        spare = [amount for length in reversed(size) for amount in (0, -length % self.stride)]
        x = self.stem(F.pad(x, spare, mode="replicate"))
        skips = []
        for stage in self.encoder:
            x = stage(self.pool(x) if skips else x)
            skips.append(x)
        skips.pop()
        for stage in self.decoder:
            x = stage(x, skips.pop())
        return self.head(x)[(..., *(slice(length) for length in size))]


def initialise(network: UNet, initialisation: str) -> None:
    """Draw the convolutions' weights anew, and let the network begin with "tumour is rare".

    From a probability of one half everywhere, the first hundreds of steps only learn the
    background (Lin et al., "Focal loss", ICCV 2017, section 4.1).
    """
    draw = INITIALISATIONS[initialisation]
    convolutions = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
    for module in network.modules():
        if draw is not None and isinstance(module, convolutions):
            draw(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.constant_(network.head.bias, math.log(PRIOR / (1 - PRIOR)))


def folded(network: nn.Module) -> nn.Module:
    """Return a copy for prediction in which each batch normalisation is folded into the convolution before it.

    In evaluation mode a normalisation is a factor and a summand per channel, which the convolution's own weights
    can take over: the same answers, one pass over the features less.
    """
    network = copy.deepcopy(network).eval()
    for block in network.modules():
        if isinstance(block, nn.Sequential):
            for place in range(len(block) - 1):
                if isinstance(block[place + 1], nn.BatchNorm2d | nn.BatchNorm3d):
                    block[place] = fuse_conv_bn_eval(block[place], block[place + 1])
                    block[place + 1] = nn.Identity()
    return network


def build_unet(recipe: Recipe) -> UNet:
    """Build the network that a recipe describes, with one input channel for each context slice.

    Its weights lie in memory as :data:`MEMORY_FORMATS` says.
    """
    network = UNet(
        len(recipe.context_mm), recipe.widths, recipe.dropout, recipe.norm, recipe.upsampling, recipe.initialisation,
        recipe.dims, recipe.stem,
    )  # fmt: skip
    return network.to(memory_format=MEMORY_FORMATS[recipe.dims])
