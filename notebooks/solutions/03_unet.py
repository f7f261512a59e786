"""Solutions to the exercises of 03_unet.ipynb.

The questions at its end:

1. The field about doubles. The new deepest stage holds about as many weights as all others together. A nodule of 5 mm
   is an eighth of a pixel there: only the skips still know it.
2. Batch normalisation then uses the statistics of that one slice, and every slice is shifted by its own content.
   Evaluation mode uses the averages that were kept during training.
3. The same two networks with other seeds, on the same patients, patient by patient: 0.3 mm may be a seed's luck.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def conv_parameters(inputs, outputs, size):
    return inputs * outputs * size * size + outputs


def double_conv(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


class decoder_stage(nn.Module):
    def __init__(self, inputs, skips, outputs):
        super().__init__()
        self.reduce = nn.Conv2d(inputs, skips, 1, bias=False)
        self.conv = double_conv(2 * skips, outputs)

    def forward(self, deep, skip):
        deep = F.interpolate(self.reduce(deep), scale_factor=2, mode="bilinear", align_corners=False)
        return self.conv(torch.cat([skip, deep], dim=1))


def same_cut(probability):
    return math.log(probability / (1 - probability))


def unet_forward(self, x):
    features = [self.encoder[0](x)]
    for stage in self.encoder[1:]:
        features.append(stage(self.pool(features[-1])))
    deep = features.pop()
    for stage in self.decoder:
        deep = stage(deep, features.pop())
    return self.head(deep)


def receptive_field(kernels, strides):
    field, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field
