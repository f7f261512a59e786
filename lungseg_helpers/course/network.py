"""What notebook 03 draws and measures of a network: its stages, and how far one pixel of its answer sees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

BLUE, ORANGE, GREEN = "#56B4E9", "#D55E00", "#009E73"
"""Colours that are told apart by all (Okabe and Ito, 2008); each kind of arrow has its own line too."""


def stage_shapes(network: nn.Module, images: Tensor) -> dict[str, tuple[int, int, int]]:
    """Return the shape (channels, rows, columns) that each stage makes of ``images`` (N, C, H, W), by its name.

    ``network`` has ``encoder`` (finest first), ``decoder`` (deepest first) and ``head``, as
    :class:`~lungseg_helpers.unet.UNet` has. The shapes are heard by hooks, from the network itself.
    """
    stages = {f"encoder {number + 1}": stage for number, stage in enumerate(network.encoder)}
    stages |= {f"decoder {number + 1}": stage for number, stage in enumerate(network.decoder)}
    shapes: dict[str, tuple[int, int, int]] = {"input": tuple(images.shape[1:])}
    hooks = [
        stage.register_forward_hook(
            lambda _module, _inputs, output, name=name: shapes.__setitem__(name, tuple(output.shape[1:]))
        )
        for name, stage in (stages | {"logits": network.head}).items()
    ]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(images)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return shapes


def draw_unet(network: nn.Module, images: Tensor) -> Figure:
    """Draw what a U-Net makes of ``images`` (N, C, H, W): one box per stage, by rows and channels.

    ``network`` is as in :func:`stage_shapes`. Each row of the drawing is a resolution.
    """
    shapes = stage_shapes(network, images)
    depth, highest = len(network.encoder), images.shape[2]
    widest = max(channels for channels, _, _ in shapes.values())
    figure, ax = plt.subplots(figsize=(9, 4.6), layout="constrained")
    places: dict[str, tuple[float, float, float, float]] = {}
    for name, (channels, rows, columns) in shapes.items():
        kind, _, number = name.partition(" ")
        level = 0 if not number else int(number) - 1 if kind == "encoder" else depth - 1 - int(number)
        # the deepest stage stands in the middle
        x = {"input": -depth - 0.6, "encoder": level - depth + 1, "decoder": depth - level - 1}.get(kind, depth + 0.6)
        width, height = 0.1 + 0.75 * channels / widest, 0.16 + 0.4 * rows / highest
        ax.add_patch(Rectangle((x - width / 2, -level - height / 2), width, height, fc=BLUE, ec="black"))
        places[name] = x, -level, width, height
        text = f"{name}\n{channels} × {rows} × {columns}"
        if level == 0 or level == depth - 1:
            away, align = (height / 2 + 0.05, "bottom") if level == 0 else (-height / 2 - 0.05, "top")
            ax.text(x, away - level, text, ha="center", va=align, fontsize=9)
        else:
            away, align = (-width / 2 - 0.1, "right") if kind == "encoder" else (width / 2 + 0.1, "left")
            ax.text(x + away, -level, text, ha=align, va="center", fontsize=9)
    _arrows(ax, places, depth)
    ax.set(xlim=(-depth - 1.4, depth + 1.4), ylim=(0.4 - depth, 0.75))
    ax.set_title("A U-Net: channels × rows × columns of what each stage puts out", fontsize=11)
    ax.legend(loc="lower left", fontsize=9, frameon=False)
    ax.set_axis_off()
    return figure


def _arrows(ax: Axes, places: dict[str, tuple[float, float, float, float]], depth: int) -> None:
    """Join the boxes (centre, width and height by name): level by level down, across, and up again."""
    ways = [("input", "encoder 1", "block", "black", "-"), (f"decoder {depth - 1}", "logits", "head", "black", "-")]
    for level in range(1, depth):
        up = f"decoder {depth - level}"
        below = f"decoder {depth - level - 1}" if level < depth - 1 else f"encoder {depth}"
        ways.append((f"encoder {level}", f"encoder {level + 1}", "halve (max-pooling), then a block", GREEN, ":"))
        ways.append((below, up, "double (upsampling)", ORANGE, "-."))
        ways.append((f"encoder {level}", up, "skip: laid beside, then a block", "black", "--"))
    for start, end, label, colour, line in ways:
        (x, y, width, height), (to_x, to_y, to_width, to_height) = places[start], places[end]
        if y == to_y:
            start_at, end_at = (x + width / 2 + 0.08, y), (to_x - to_width / 2 - 0.08, y)
        else:
            sign = 1 if to_y > y else -1
            start_at, end_at = (x, y + sign * (height / 2 + 0.03)), (to_x, to_y - sign * (to_height / 2 + 0.03))
        if line == "-":
            ax.text((start_at[0] + end_at[0]) / 2, y + 0.05, label, ha="center", fontsize=9)
        elif label not in ax.get_legend_handles_labels()[1]:
            ax.plot([], [], color=colour, linestyle=line, label=label)
        style = {"arrowstyle": "-|>", "color": colour, "linestyle": line, "linewidth": 1.6}
        ax.annotate("", end_at, start_at, arrowprops=style)


def field_on_paper(kernels: Sequence[int], strides: Sequence[float]) -> float:
    """Return the receptive field in pixels of layers with ``kernels`` and ``strides``, first to last.

    After Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019, eq. 2.
    """
    field, step = 1.0, 1.0
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field


def measured_field(kernels: Sequence[int], strides: Sequence[float]) -> float:
    """Return how many input pixels in a row change an output pixel, by trying it: the mean of 16 neighbours.

    ``kernels`` and ``strides`` are those of the layers, first to last; a stride of 0.5 is a bilinear upsampling that
    doubles, whatever its kernel is said to be. All weights are 1, so that nothing cancels. After an upsampling
    neighbours see fewer or more pixels, as they lie on the coarse grid.
    """
    size = 4 * math.ceil(field_on_paper(kernels, strides)) + 32 * math.ceil(math.prod(strides))
    x = line = torch.ones(1, 1, size, dtype=torch.float64, requires_grad=True)
    for kernel, stride in zip(kernels, strides, strict=True):
        if stride < 1:
            x = F.interpolate(x, scale_factor=1 / stride, mode="linear", align_corners=False)
        else:
            x = F.conv1d(x, torch.ones(1, 1, kernel, dtype=x.dtype), stride=int(stride))
    seen = []
    for place in range(x.shape[2] // 2 - 8, x.shape[2] // 2 + 8):
        (gradient,) = torch.autograd.grad(x[0, 0, place], line, retain_graph=True)
        touched = torch.nonzero(gradient[0, 0])
        seen.append(int(touched.max() - touched.min()) + 1)
    return sum(seen) / len(seen)
