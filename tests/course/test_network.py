"""What notebook 03 draws of a network is what the network does."""

import importlib.util

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch

from lungseg_helpers.course.network import draw_unet, field_on_paper, measured_field, stage_shapes
from lungseg_helpers.course.show import right_or
from lungseg_helpers.paths import ROOT
from lungseg_helpers.unet import DecoderStage, DoubleConv, UNet


def test_shapes_are_the_networks_own():
    network = UNet(2, (3, 5, 7)).train()
    shapes = stage_shapes(network, torch.zeros(2, 2, 16, 24))
    assert shapes == {
        "input": (2, 16, 24),
        "encoder 1": (3, 16, 24),
        "encoder 2": (5, 8, 12),
        "encoder 3": (7, 4, 6),
        "decoder 1": (5, 8, 12),
        "decoder 2": (3, 16, 24),
        "logits": (1, 16, 24),
    }
    assert network.training, "the mode is given back"
    assert not any(module._forward_hooks for module in network.modules()), "no hook stays"


@pytest.mark.parametrize("widths", [(4, 8), (8, 16, 32, 64), (2, 4, 8, 16, 32)])
def test_the_drawing_names_every_stage_once_and_every_kind_of_arrow(widths):
    figure = draw_unet(UNet(1, widths), torch.zeros(1, 1, 64, 96))
    (ax,) = figure.axes
    texts = [text.get_text() for text in ax.texts]
    for stage, shape in stage_shapes(UNet(1, widths), torch.zeros(1, 1, 64, 96)).items():
        assert texts.count(f"{stage}\n{' × '.join(map(str, shape))}") == 1
    assert len(ax.patches) == 2 * len(widths) + 1, "a box for each stage"
    arrows = sum(text.arrow_patch is not None for text in ax.texts if hasattr(text, "arrow_patch"))
    assert arrows == 3 * (len(widths) - 1) + 2
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(names) == 3 and len({line.get_linestyle() for line in ax.get_legend().get_lines()}) == 3
    plt.close(figure)


def test_no_pixel_of_the_courses_network_sees_farther_than_said():
    kernels, strides = [3, 3, 2] * 3 + [3, 3] + [2, 3, 3] * 3, [1, 1, 2] * 3 + [1, 1] + [0.5, 1, 1] * 3
    assert field_on_paper(kernels, strides) == measured_field(kernels, strides) == 110
    torch.manual_seed(0)
    network = UNet(1, (2, 2, 2, 2), norm="none").eval()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    seen = []
    for place in range(128, 136):
        image = torch.rand(1, 1, 256, 256, requires_grad=True)
        network(image)[0, 0, 128, place].backward()
        touched = image.grad[0, 0].any(dim=0).nonzero()
        seen.append(max(place - int(touched.min()), int(touched.max()) - place))
    assert max(seen) <= 58


@pytest.mark.parametrize("whose", ["the learner's", "the package's"])
def test_the_network_that_the_notebook_assembles_is_the_packages(whose):
    (source,) = [
        cell.source
        for cell in nbformat.read(ROOT / "notebooks" / "03_unet.ipynb", 4).cells
        if cell.cell_type == "code" and cell.source.startswith("class MyUNet")
    ]
    spec = importlib.util.spec_from_file_location("solutions_03", ROOT / "notebooks" / "solutions" / "03_unet.py")
    done = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(done)

    def unet_forward(self, x):
        raise NotImplementedError

    names = {"nn": torch.nn, "UNet": UNet, "right_or": right_or}
    if whose == "the learner's":
        names |= {"block": done.double_conv, "stage": done.decoder_stage, "unet_forward": done.unet_forward}
    else:
        names |= {"block": DoubleConv, "stage": DecoderStage, "unet_forward": unet_forward}
    exec(source, names)
    mine, ours = names["MyUNet"](5, (4, 6, 8)).eval(), UNet(5, (4, 6, 8)).eval()
    assert (mine.forward.__func__ is done.unet_forward) == (whose == "the learner's")
    with torch.no_grad():
        for one, other in zip(mine.parameters(), ours.parameters(), strict=True):
            one.copy_(other)
        image = torch.rand(2, 5, 16, 24)
        assert torch.allclose(mine(image), ours(image), atol=1e-6)
