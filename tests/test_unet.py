"""Shapes, gradients, and that the skip connections carry something."""

import pytest
import torch

from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.unet import UNet, build_unet


@pytest.mark.parametrize("size", [(64, 64), (160, 208), (37, 51), (8, 8)])
def test_any_slice_size_comes_back(size):
    network = UNet(3, (4, 8, 16, 32)).eval()
    assert network(torch.zeros(2, 3, *size)).shape == (2, 1, *size)


def test_four_encoder_and_three_decoder_stages():
    network = build_unet(get_recipe("course", "laptop"))
    assert len(network.encoder) == 4 and len(network.decoder) == 3


def test_every_parameter_gets_a_gradient():
    network = UNet(1, (4, 8, 16, 32))
    network(torch.randn(2, 1, 32, 32)).square().mean().backward()
    without = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert not without


@pytest.mark.parametrize("stage", range(3))
def test_every_skip_carries_something(stage):
    """Cutting any one skip changes the answer, and its half of the weights learns."""
    torch.manual_seed(0)
    network = UNet(1, (4, 8, 16, 32))
    image = torch.randn(2, 1, 32, 32)
    decoder = network.decoder[stage]
    skips = decoder.reduce.out_channels
    network(image).square().mean().backward()
    assert decoder.conv[0].weight.grad[:, :skips].abs().sum() > 0
    network.eval()
    whole = network(image)
    forward = decoder.forward
    decoder.forward = lambda deep, skip: forward(deep, torch.zeros_like(skip))
    assert (network(image) - whole).abs().max() > 1e-4 * whole.std()


def test_padding_inside_does_not_shift_the_picture():
    network = UNet(1, (4, 8, 16, 32)).eval()
    image = torch.randn(1, 1, 64, 64)
    whole, part = network(image), network(image[:, :, :61, :59])
    torch.testing.assert_close(whole[:, :, :20, :20], part[:, :, :20, :20], rtol=0, atol=0.2)
