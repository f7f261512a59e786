"""Shapes, gradients, and that the skip connections carry something."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lungseg_helpers.errors import RecipeError
from lungseg_helpers.recipe import ADDED
from lungseg_helpers.recipes import get_recipe
from lungseg_helpers.training.losses import dice_bce_loss
from lungseg_helpers.training.weights import load_weights
from lungseg_helpers.unet import INITIALISATIONS, NORMS, UPSAMPLINGS, UNet, build_unet, folded, layer


@pytest.mark.parametrize("size", [(64, 64), (160, 208), (37, 51), (8, 8)])
def test_any_slice_size_comes_back(size):
    network = UNet(3, (4, 8, 16, 32)).eval()
    assert network(torch.zeros(2, 3, *size)).shape == (2, 1, *size)


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("size", [(16, 24, 32), (13, 21, 18), (1, 5, 7)])
def test_any_volume_size_comes_back(size, stem):
    network = UNet(1, (4, 8, 16), dims=3, stem=stem).eval()
    assert network(torch.zeros(2, 1, *size)).shape == (2, 1, *size)


def test_a_stem_works_on_blocks_in_two_dimensions_too():
    network = UNet(3, (4, 8, 16), stem=2)
    seen = []
    network.encoder[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    assert network(torch.randn(2, 3, 37, 50)).shape == (2, 1, 37, 50)
    assert seen == [(2, 4, 20, 28)], "padded to the stride of 8, then halved"


def test_four_encoder_and_three_decoder_stages():
    network = build_unet(get_recipe("course", "laptop"))
    assert len(network.encoder) == 4 and len(network.decoder) == 3


@pytest.mark.parametrize("shape", [{"dims": 2}, {"dims": 2, "stem": 2}, {"dims": 3}, {"dims": 3, "stem": 2}], ids=str)
def test_every_parameter_gets_a_gradient(shape):
    network = UNet(1, (4, 8, 16), **shape)
    network(torch.randn(2, 1, *[16] * shape["dims"])).square().mean().backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not without


def assert_skip_carries(network: UNet, stage: int) -> None:
    """Assert that the encoder's features reach this decoder stage, its half of the weights learns and matters."""
    image = torch.randn(2, 1, 32, 32)
    decoder, encoder = network.decoder[stage], network.encoder[-2 - stage]
    seen = {}
    watched = [
        encoder.register_forward_hook(lambda module, _, output: seen.__setitem__("encoder", output)),
        decoder.conv.register_forward_pre_hook(lambda module, inputs: seen.__setitem__("joined", inputs[0])),
    ]
    network.train()(image).square().mean().backward()
    skips = seen["encoder"].shape[1]
    assert torch.equal(seen["joined"][:, :skips], seen["encoder"]), "the encoder's features are not what is joined"
    assert decoder.conv[0].weight.grad[:, :skips].abs().sum() > 0, "the skip's weights get no gradient"
    network.eval()
    whole = network(image)
    cut = decoder.register_forward_pre_hook(lambda module, inputs: (inputs[0], torch.zeros_like(inputs[1])))
    assert (network(image) - whole).abs().max() > 1e-4 * whole.std(), "nothing changes without the skip"
    for hook in (*watched, cut):
        hook.remove()


@pytest.mark.parametrize("stage", range(3))
def test_every_skip_carries_something(stage):
    torch.manual_seed(0)
    assert_skip_carries(UNet(1, (4, 8, 16, 32)), stage)


@pytest.mark.parametrize("stage", range(3))
def test_a_cut_skip_is_noticed(stage):
    """The test above fails for a network whose skip is cut: without this, nobody knows that it can."""
    torch.manual_seed(0)
    network = UNet(1, (4, 8, 16, 32))
    forward = network.decoder[stage].forward
    network.decoder[stage].forward = lambda deep, skip: forward(deep, torch.zeros_like(skip))
    with pytest.raises(AssertionError, match="not what is joined"):
        assert_skip_carries(network, stage)


@pytest.mark.parametrize("size", [(30, 21), (6, 14, 9)])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_every_variant_of_the_recipes_works(norm, upsampling, size):
    network = UNet(2, (4, 8, 16), dropout=0.2, norm=norm, upsampling=upsampling, dims=len(size))
    answer = network(torch.randn(2, 2, *size))
    assert answer.shape == (2, 1, *size)
    answer.square().mean().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    normalised = any("Norm" in type(layer).__name__ for layer in network.modules())
    assert normalised == (norm != "none")
    kinds = nn.ConvTranspose2d | nn.ConvTranspose3d
    assert any(isinstance(layer, kinds) for layer in network.modules()) == (upsampling == "transposed")


def test_the_recipe_reaches_the_network():
    recipe = replace(
        get_recipe("course", "laptop"),
        widths=(4, 8),
        norm="group",
        upsampling="transposed",
        dropout=0.3,
        context_mm=(0.0,),
        initialisation="xavier",
    )
    network = build_unet(recipe)
    assert (len(network.encoder), network.encoder[0][0].in_channels) == (2, 1)
    kinds = {type(layer) for layer in network.modules()}
    assert {nn.GroupNorm, nn.ConvTranspose2d, nn.Dropout2d} <= kinds and nn.BatchNorm2d not in kinds


def test_without_normalisation_convolutions_have_a_bias():
    for norm in NORMS:
        assert (UNet(1, (4, 8), norm=norm).encoder[0][0].bias is not None) == (norm == "none")


def test_initialisations_have_the_spread_of_their_papers():
    spreads = {}
    for name in INITIALISATIONS:
        torch.manual_seed(0)
        weight = UNet(1, (32, 64), initialisation=name).encoder[1][3].weight
        spreads[name] = float(weight.std())
    inputs = outputs = 64 * 9
    assert spreads["xavier"] == pytest.approx((2 / (inputs + outputs)) ** 0.5, rel=0.03)
    assert spreads["he"] == pytest.approx((2 / inputs) ** 0.5, rel=0.03)
    assert spreads["torch"] == pytest.approx((1 / (3 * inputs)) ** 0.5, rel=0.03)


@pytest.mark.parametrize("wrong", [{"norm": "layer"}, {"upsampling": "nearest"}, {"initialisation": "zeros"}])
def test_unknown_choices_are_named(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong.values()))):
        UNet(1, (4, 8), **wrong)


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("size", [(32, 32), (16, 16, 16)])
def test_an_untrained_network_says_that_tumour_is_rare(size, stem):
    for name in INITIALISATIONS:
        torch.manual_seed(0)
        network = UNet(1, (4, 8, 16), initialisation=name, dims=len(size), stem=stem).eval()
        assert network(torch.randn(1, 1, *size)).sigmoid().mean() < 0.1


def test_one_batch_is_learned_by_heart():
    """The first test of any network: balls and rods of one brightness, of which only the balls are wanted."""
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    images, masks = [], []
    for k in range(6):
        ball = (rows - 12 - 3 * k) ** 2 + (columns - 14) ** 2 < (4 + k % 3) ** 2
        rod = ((columns - 34).abs() < 3) & (rows > 5 * k)
        images.append((ball | rod).float() + 0.2 * torch.randn(48, 48))
        masks.append(ball.float())
    images, masks = torch.stack(images)[:, None], torch.stack(masks)[:, None]
    network = UNet(1, (8, 16, 32))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(80):
        loss = dice_bce_loss(network(images), masks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    predicted = network(images) > 0
    assert 2 * (predicted & (masks > 0)).sum() / (predicted.sum() + masks.sum()) > 0.95


def test_padding_inside_does_not_shift_the_picture():
    network = UNet(1, (4, 8, 16, 32)).eval()
    image = torch.randn(1, 1, 64, 64)
    whole, part = network(image), network(image[:, :, :61, :59])
    torch.testing.assert_close(whole[:, :, :20, :20], part[:, :, :20, :20], rtol=0, atol=0.2)


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("size", [(33, 47), (10, 17, 13)])
def test_folding_normalisation_into_convolutions_changes_no_answer(size, stem):
    torch.manual_seed(0)
    network = UNet(2, (4, 8, 16), dims=len(size), stem=stem)
    for _ in range(3):
        network(torch.randn(4, 2, *[16] * len(size)) * 3 + 1)  # statistics that are not those of the start
    network.eval()
    images = torch.randn(2, 2, *size)
    with torch.no_grad():
        torch.testing.assert_close(folded(network)(images), network(images), atol=1e-5, rtol=1e-4)
    kinds = nn.BatchNorm2d | nn.BatchNorm3d
    assert not any(isinstance(module, kinds) for module in folded(network).modules())
    assert any(isinstance(module, kinds) for module in network.modules()), "the network itself is left alone"


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 6])
def test_bfloat16_gives_the_gradients_of_float32_however_flat_a_volume_is(slices):
    """torch alone does not: of two slices its gradient is another one, and now and then NaN."""
    torch.manual_seed(0)
    convolution, x = layer("Conv", 3)(16, 16, 3, padding=1), torch.randn(2, 16, slices, 6, 6)
    back, gradients = torch.randn(2, 16, slices, 6, 6), []
    for half in (False, True):
        convolution.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            convolution(x).float().backward(back)
        gradients.append(convolution.weight.grad.clone())
    assert (gradients[1] - gradients[0]).norm() < 0.02 * gradients[0].norm()


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize("stem", [1, 2])
def test_a_network_of_volumes_that_looks_at_no_neighbours_is_the_one_of_slices(stem, upsampling):
    """Of a volume of equal slices each gets the answer that the network of slices gives to one of them."""
    torch.manual_seed(0)
    options = {"widths": (4, 8, 16), "norm": "batch", "upsampling": upsampling, "stem": stem}
    flat, deep = UNet(2, dims=2, **options), UNet(2, dims=3, **options)
    state = deep.state_dict()
    for name, weight in flat.state_dict().items():
        if state[name].ndim == 5:  # a kernel: the slice's own part in its middle, the same for both slices of a block
            depth = state[name].shape[2]
            state[name].zero_()
            parts = range(depth) if "enlarge" in name or "head" in name else [depth // 2]
            for part in parts:
                state[name][:, :, part] = weight
        else:
            state[name] = weight
    deep.load_state_dict(state)
    slices = torch.randn(3, 2, 21, 26)
    with torch.no_grad():
        expected, answer = flat.eval()(slices), deep.eval()(slices[:, :, None].expand(-1, -1, 11, -1, -1))
    torch.testing.assert_close(answer, expected[:, :, None].expand_as(answer), atol=1e-4, rtol=1e-4)


def test_weights_from_before_there_were_dimensions_load_unchanged(tmp_path):
    """Their recipe lacks the settings, and their tensors have these names."""
    recipe = replace(get_recipe("course", "laptop"), widths=(4, 8))
    before = {key: value for key, value in recipe.to_dict().items() if key not in ADDED}
    state = build_unet(recipe).state_dict()
    double = ["0.weight", "3.weight"]
    double += [f"{place}.{name}" for place in (1, 4) for name in ("weight", "bias", "running_mean", "running_var")]
    double += [f"{place}.num_batches_tracked" for place in (1, 4)]
    blocks = ("encoder.0", "encoder.1", "decoder.0.conv")
    names = {f"{block}.{name}" for block in blocks for name in double}
    assert set(state) == names | {"decoder.0.reduce.weight", "head.weight", "head.bias"}
    torch.save({"recipe": before, "state_dict": state, "split": {}}, tmp_path / "old.ckpt")
    network, loaded, _ = load_weights(tmp_path / "old.ckpt")
    assert loaded == recipe and (loaded.dims, loaded.slice_mm, loaded.stem) == (2, None, 1)
    assert all(torch.equal(weight, state[name]) for name, weight in network.state_dict().items())
