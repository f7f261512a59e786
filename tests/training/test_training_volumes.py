"""The whole road in three dimensions: trained, cut short and gone on, predicted, begun from; by few toy patches."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.split import Split
from lungseg_helpers.errors import RecipeError
from lungseg_helpers.evaluation.metrics import dice
from lungseg_helpers.prediction.inference import predict_case, predict_stack
from lungseg_helpers.preprocessing.stacks import make_stack
from lungseg_helpers.training.losses import LOSSES
from lungseg_helpers.training.run import train
from lungseg_helpers.training.segmenter import LungSegmenter
from lungseg_helpers.training.weights import load_weights

SPLIT = Split(("a",), ("b",), ("c",))


@pytest.fixture
def case(toy_case):
    return toy_case("a")


@pytest.fixture
def data(case, volume_recipe, monkeypatch):
    monkeypatch.setenv("LUNGSEG_PRECISION", "float32")
    recipe = replace(volume_recipe, epochs=8, slices_per_epoch=24, learning_rate=1e-2)
    stack = make_stack(case, recipe)
    return LungDataModule([stack], [stack], recipe)


def test_learns_and_predicts_what_validation_saw(data, case, tmp_path):
    """The Dice that picked the checkpoint is that of the volume that these weights predict, window by window."""
    path = train(data, SPLIT, tmp_path / "run", "cpu", progress=False)
    network, recipe, _ = load_weights(path)
    assert replace(recipe, threshold=0.5) == data.recipe
    stack, curves = data.validation_set.stacks[0], pd.read_csv(tmp_path / "run" / "curves.csv")
    assert recipe.frame[0] < stack.ct.shape[0], "one window would show nothing"
    reached = dice(stack.mask, predict_stack(network, recipe, stack) > recipe.threshold)
    assert reached > 0.6 and reached == pytest.approx(curves["validation_dice"].max(), abs=0.02)
    found = predict_case(network, recipe, case)
    assert found.mask.shape == found.scan.voxels.shape and found.mask.any()

    wide = replace(data.recipe, widths=(8, 16, 24), epochs=1)
    for other in (wide, replace(data.recipe, stem=1, epochs=1)):
        module = LungDataModule([stack], [stack], other)
        with pytest.raises(RecipeError, match=f"asks for .3 dimensions, .*widths .*, stem {other.stem}"):
            train(module, SPLIT, tmp_path / "other", "cpu", progress=False, start=path)
    begun = LungDataModule([stack], [stack], replace(data.recipe, epochs=1, slices_per_epoch=2, learning_rate=1e-9))
    further, _, roles = load_weights(train(begun, SPLIT, tmp_path / "begun", "cpu", progress=False, start=path))
    torch.testing.assert_close(further.head.weight, network.head.weight, atol=1e-6, rtol=0)
    assert roles["start"]["weights"] == "weights.ckpt"


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(data, tmp_path):
    data.recipe = replace(data.recipe, epochs=2, slices_per_epoch=8)
    whole = load_weights(train(data, SPLIT, tmp_path / "whole", "cpu", progress=False))[0]
    step = LungSegmenter.training_step

    def cut(self, batch, number):
        if self.current_epoch:
            raise KeyError("cut")
        return step(self, batch, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LungSegmenter, "training_step", cut)
        with pytest.raises(KeyError):
            train(data, SPLIT, tmp_path / "cut", "cpu", progress=False)
    resumed = load_weights(train(data, SPLIT, tmp_path / "cut", "cpu", progress=False))[0]
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_bfloat16_trains_too(data, tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGSEG_PRECISION", "bfloat16")
    data.recipe = replace(data.recipe, epochs=1, slices_per_epoch=4)
    network, recipe, _ = load_weights(train(data, SPLIT, tmp_path / "run", "cpu", progress=False))
    assert np.isfinite(predict_stack(network, recipe, data.validation_set.stacks[0])).all()


def test_what_validation_does_not_count_changes_no_count(data):
    """Where more processes train than patients validate, some see a patient as number -1."""
    module = LungSegmenter(data.recipe.to_dict(), ["a"])
    module.log = lambda *_, **__: None
    image, mask, _ = next(iter(data.val_dataloader()))
    counted = []
    for number in (0, -1):
        module.on_validation_epoch_start()
        with torch.no_grad():
            module.eval().validation_step((image, mask, torch.tensor([number])), 0)
        counted.append(module.counts.clone())
    tumour = int((mask > 0.5).sum())
    assert (counted[0][:, 0, 0] + counted[0][:, 0, 2] == tumour).all() and not counted[1].any()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_know_no_dimensions(name):
    """Of a volume they are what they are of the same numbers laid out in one slice."""
    torch.manual_seed(0)
    logits, target = torch.randn(2, 1, 4, 6, 8), (torch.rand(2, 1, 4, 6, 8) > 0.7).float()
    flat = (part.reshape(2, 1, 24, 8) for part in (logits, target))
    torch.testing.assert_close(LOSSES[name](logits, target), LOSSES[name](*flat))
