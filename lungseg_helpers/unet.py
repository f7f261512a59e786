"""The U-Net: an encoder that learns what is in a slice, a decoder that says where.

After Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015 (arXiv:1505.04597), with padded
convolutions, batch normalisation and bilinear upsampling, as the reference projects use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .recipes import Recipe

PRIOR = 0.01
"""The tumour probability that an untrained network starts from: about that of a pixel in a tumour slice."""


class DoubleConv(nn.Sequential):
    """Two 3×3 convolutions, each normalised and rectified. (N, inputs, H, W) → (N, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            # the bias would be subtracted again by the normalisation that follows
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]
        if dropout:
            layers.append(nn.Dropout2d(dropout))
        super().__init__(*layers)


class DecoderStage(nn.Module):
    """Double the resolution, put the encoder's features beside, convolve twice.

    ``deep`` (N, inputs, H, W) and ``skip`` (N, skips, 2H, 2W) give (N, outputs, 2H, 2W).
    """

    def __init__(self, inputs: int, skips: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        # a 1×1 convolution and bilinear upsampling commute: doing it first moves half the data
        self.reduce = nn.Conv2d(inputs, skips, 1, bias=False)
        self.conv = DoubleConv(2 * skips, outputs, dropout)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        deep = F.interpolate(self.reduce(deep), size=skip.shape[2:], mode="bilinear", align_corners=False)
        return self.conv(torch.cat([skip, deep], dim=1))


class UNet(nn.Module):
    """Slices in, logits out: (N, inputs, H, W) float → (N, 1, H, W) float, one logit a pixel.

    ``widths`` are the channels of the encoder's stages, finest first; there is one decoder
    stage fewer. Any H and W work: what is not a multiple of the deepest stride is padded
    inside and cut off again.
    """

    def __init__(self, inputs: int = 1, widths: Sequence[int] = (16, 32, 64, 128), dropout: float = 0.0) -> None:
        super().__init__()
        self.stride = 2 ** (len(widths) - 1)
        self.encoder = nn.ModuleList(
            DoubleConv(before, width, dropout) for before, width in zip((inputs, *widths[:-1]), widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.decoder = nn.ModuleList(
            DecoderStage(deep, skip, skip, dropout)
            for deep, skip in zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)
        # start from "tumour is rare": from 0.5 everywhere, the first hundreds of steps only learn the background
        # (Lin et al., "Focal loss", ICCV 2017, section 4.1)
        nn.init.constant_(self.head.bias, math.log(PRIOR / (1 - PRIOR)))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.stride, 0, -height % self.stride), mode="replicate")
        skips = []
        for stage in self.encoder:
            x = stage(self.pool(x) if skips else x)
            skips.append(x)
        skips.pop()
        for stage in self.decoder:
            x = stage(x, skips.pop())
        return self.head(x)[:, :, :height, :width]


def build_unet(recipe: Recipe) -> UNet:
    """Build the network that a recipe describes, with one input channel for each context slice."""
    return UNet(len(recipe.context_mm), recipe.widths, recipe.dropout)
