"""Teachers: their losses by hand, the mean one as the moving average, and scans that neither may see."""

import contextlib
import gzip
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lungseg_helpers.dataset.loaders import LungDataModule
from lungseg_helpers.dataset.slices import SliceDataset
from lungseg_helpers.dataset.split import Split, open_split
from lungseg_helpers.dataset.unlabelled import TwoViews, Unlabelled, open_unlabelled, relabelled
from lungseg_helpers.dataset.volumes import VolumeDataset
from lungseg_helpers.errors import RecipeError, SourceError, SplitError, TrainingError
from lungseg_helpers.preprocessing.stacks import make_stack
from lungseg_helpers.training.callbacks import AVERAGED_EVERY, MovingAverage, moving_average
from lungseg_helpers.training.lineage import require_unseen
from lungseg_helpers.training.losses import consistency_loss, pseudo_label_loss
from lungseg_helpers.training.run import build_trainer, train
from lungseg_helpers.training.segmenter import LungSegmenter
from lungseg_helpers.training.teacher import RAMP_UP, MeanTeacher, SelfTraining, ramp_up
from lungseg_helpers.training.weights import load_weights


@pytest.fixture(autouse=True)
def full_precision(monkeypatch, tmp_path):
    """Keep results the same on every processor, and stacks in a folder of the test's own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("LUNGSEG_PRECISION", "float32")
    monkeypatch.setenv("LUNGSEG_DATA_DIR", str(tmp_path / "data"))
    yield
    torch.set_num_threads(threads)


def taught(toy_case, recipe) -> LungDataModule:
    """Return a data module of one labelled patient and another without a label."""
    labelled = make_stack(toy_case("a"), recipe)
    other = make_stack(replace(toy_case("u", tumour=False), label=None), recipe)
    return LungDataModule(
        [labelled], [labelled], recipe, unlabelled=Unlabelled((other,), {"data": "u", "train": ["u"]})
    )


@contextlib.contextmanager
def stopped_in_the_last_epoch(kind):
    """Let trainings of three epochs with modules of this kind end in the middle, as if they were killed."""

    class StopError(Exception):
        """What ends a training in the middle."""

    original = kind.on_train_epoch_start

    def stop(self):
        if self.current_epoch == 2:
            raise StopError
        original(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(kind, "on_train_epoch_start", stop)
        yield


def test_consistency_is_the_mean_squared_difference_of_probabilities():
    student = torch.tensor([0.0, math.log(3), -math.log(3), 0.0], requires_grad=True)  # 1/2, 3/4, 1/4, 1/2
    teacher = torch.tensor([0.0, 0.0, 0.0, math.log(3)], requires_grad=True)  # 1/2, 1/2, 1/2, 3/4
    loss = consistency_loss(student, teacher)
    assert loss.item() == pytest.approx((0 + 1 / 16 + 1 / 16 + 1 / 16) / 4)
    loss.backward()
    # the derivative of a probability is p (1 - p); the mean of four squares brings 2 / 4
    expected = [0, 2 / 4 * 1 / 4 * 3 / 16, -2 / 4 * 1 / 4 * 3 / 16, -2 / 4 * 1 / 4 * 1 / 4]
    assert student.grad.tolist() == pytest.approx(expected)
    assert teacher.grad is None, "the teacher's answer is a target"


def test_pseudo_labels_count_where_the_teacher_is_sure():
    student = torch.tensor([0.0, math.log(3), 0.0, -math.log(3)], requires_grad=True)  # 1/2, 3/4, 1/2, 1/4
    teacher = torch.tensor([math.log(9), -math.log(19), math.log(4), -math.log(9)])  # 0.9, 0.05, 0.8, 0.1
    teacher += torch.tensor([1e-4, 0, 0, -1e-4])  # just beyond the bars, whatever is rounded
    loss = pseudo_label_loss(student, teacher, sure=0.9)
    # the third is not sure; the first is tumour, the others are background
    assert loss.item() == pytest.approx((math.log(2) + math.log(4) + math.log(4 / 3)) / 3)
    loss.backward()
    assert student.grad.tolist() == pytest.approx([-1 / 6, 1 / 4, 0, 1 / 12])
    assert pseudo_label_loss(student, torch.zeros(4)).item() == 0, "nobody is sure: nothing is learned"


def test_the_teachers_weight_rises_as_in_the_paper():
    assert [ramp_up(share * RAMP_UP) for share in (0, 0.5, 1)] == pytest.approx([math.exp(-5), math.exp(-1.25), 1])
    assert ramp_up(1.0) == 1


@pytest.mark.parametrize("dims", [2, 3])
def test_two_views_show_one_place_in_two_intensities(toy_case, toy_recipe, volume_recipe, dims):
    recipe, kind = (toy_recipe, SliceDataset) if dims == 2 else (volume_recipe, VolumeDataset)
    noisy = replace(recipe, augmentation=replace(recipe.augmentation, noise=0.0, contrast=0.3, blur_probability=0.0,
                                                 low_resolution_probability=0.0))  # fmt: skip
    views = TwoViews([make_stack(replace(toy_case("u"), label=None), recipe)], noisy, kind)
    assert views.weights.sum() == pytest.approx(1)
    student, teacher = views[len(views) // 2, 7]
    assert student.shape == teacher.shape and not torch.equal(student, teacher)
    # contrast and brightness alone: one is a straight line of the other, pixel by pixel
    assert np.corrcoef(student.ravel(), teacher.ravel())[0, 1] == pytest.approx(1, abs=1e-5)
    again = views[len(views) // 2, 7]
    assert torch.equal(student, again[0]) and torch.equal(teacher, again[1])


@pytest.mark.parametrize("dims", [2, 3])
def test_a_label_that_is_there_is_not_looked_at(toy_case, toy_recipe, volume_recipe, dims):
    """Neither by which slices are drawn, nor by where in a slice: training centres patches on tumour."""
    recipe, kind = (toy_recipe, SliceDataset) if dims == 2 else (volume_recipe, VolumeDataset)
    labelled = make_stack(toy_case("u"), recipe)
    assert labelled.tumour_slices
    views = [TwoViews([stack], recipe, kind) for stack in (labelled, relabelled(labelled, None))]
    assert np.array_equal(views[0].weights, views[1].weights)
    for item in range(len(views[0])):
        seen = [each[item, 3] for each in views]
        assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


def test_a_stack_with_another_label_is_drawn_by_it(toy_case, toy_recipe):
    stack = make_stack(toy_case("u"), toy_recipe)
    mask = np.zeros(stack.ct.shape, bool)
    mask[3, 4:6, 4:6] = True
    other = relabelled(stack, mask)
    assert other.tumour_slices == [3] and np.array_equal(other.mask, mask) and np.array_equal(other.ct, stack.ct)
    assert SliceDataset([other], toy_recipe).has_tumour.nonzero()[0].tolist() == [3]
    assert stack.tumour_slices != [3], "the stack itself stays"


def test_patients_without_labels_are_drawn_alike(toy_case, toy_recipe):
    stacks = [make_stack(replace(toy_case(name), label=None), toy_recipe) for name in "uv"]
    views = TwoViews(stacks, toy_recipe)
    shares = np.bincount(views.patches.patients, views.weights)
    assert shares == pytest.approx([0.5, 0.5])


def test_the_teacher_is_the_moving_average_of_the_students_weights(toy_case, toy_recipe, tmp_path):
    """Followed by hand, step by step, beside the training."""
    data = taught(toy_case, replace(toy_recipe, slices_per_epoch=64))
    module = MeanTeacher(data.recipe.to_dict(), ["a"])
    name, followed, updates = "network.head.weight", [], []

    class Follow(MovingAverage):
        """The callback itself, with what went in."""

        def on_train_batch_end(self, trainer, *args):
            before = self._average_model.module.state_dict()[name].clone()
            super().on_train_batch_end(trainer, *args)
            now = self._average_model.module.state_dict()[name].clone()
            if not torch.equal(before, now):
                student = module.state_dict()[name].clone()
                by_hand = moving_average(before, student, torch.tensor(len(updates))) if updates else student
                followed.append((now, by_hand))
                updates.append(trainer.global_step)
                assert torch.equal(self.teacher.state_dict()["head.weight"], now)

    trainer = build_trainer(data.recipe, tmp_path / "run", "cpu")
    trainer.callbacks = [Follow() if isinstance(each, MovingAverage) else each for each in trainer.callbacks]
    trainer.fit(module, data)
    assert len(followed) >= 3 and np.diff(updates).tolist() == [AVERAGED_EVERY] * (len(updates) - 1)
    for now, by_hand in followed:
        assert torch.equal(now, by_hand)


def test_a_resumed_teacher_is_bit_by_bit_the_one_of_an_uninterrupted_training(toy_case, toy_recipe, tmp_path):
    data = taught(toy_case, replace(toy_recipe, epochs=3))
    split, _ = _split_of(data)
    whole = train(data, split, tmp_path / "whole", "cpu", progress=False)
    with stopped_in_the_last_epoch(MeanTeacher):
        train(taught(toy_case, data.recipe), split, tmp_path / "parts", "cpu", progress=False)
    parts = train(taught(toy_case, data.recipe), split, tmp_path / "parts", "cpu", progress=False)
    states = [load_weights(path)[0].state_dict() for path in (whole, parts)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    last = [torch.load(path.parent / "checkpoints" / "last.ckpt", weights_only=True) for path in (whole, parts)]
    assert all(torch.equal(value, last[1]["state_dict"][key]) for key, value in last[0]["state_dict"].items())


@pytest.fixture
def taught_by(toy_case, toy_recipe, tmp_path):
    """Weights of a first training, and the split and data of a second one that they can teach."""
    data = taught(toy_case, replace(toy_recipe, epochs=3))
    split, alone = _split_of(data)
    return train(alone, split, tmp_path / "first", "cpu", progress=False), split, data


def test_a_fixed_teacher_is_neither_trained_nor_kept(taught_by, tmp_path):
    weights, _, data = taught_by
    network = load_weights(weights)[0]
    module = SelfTraining(data.recipe.to_dict(), ["a"]).taught_by(network)
    assert set(module.state_dict()) == set(LungSegmenter(data.recipe.to_dict(), ["a"]).state_dict())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    build_trainer(data.recipe, tmp_path / "run", "cpu").fit(module, data)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert set(kept["hyper_parameters"]) == {"recipe", "patients"}


def test_self_training_goes_on_bit_by_bit_and_remembers_its_teacher(taught_by, toy_case, tmp_path):
    weights, split, data = taught_by
    whole = train(data, split, tmp_path / "whole", "cpu", progress=False, teacher=weights)
    with stopped_in_the_last_epoch(SelfTraining):
        train(taught(toy_case, data.recipe), split, tmp_path / "parts", "cpu", progress=False, teacher=weights)
    parts = train(taught(toy_case, data.recipe), split, tmp_path / "parts", "cpu", progress=False, teacher=weights)
    states = [load_weights(path)[0].state_dict() for path in (whole, parts)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    mean = train(data, split, tmp_path / "mean", "cpu", progress=False)
    assert not torch.equal(load_weights(mean)[0].state_dict()["head.weight"], states[0]["head.weight"])
    roles = load_weights(whole)[2]
    assert roles["teacher"]["train"] == ["a"] and len(roles["teacher"]["sha256"]) == 64
    with pytest.raises(TrainingError, match="other teacher's weights"):
        train(data, split, tmp_path / "whole", "cpu", progress=False, teacher=mean)


def test_a_teacher_that_cannot_teach_is_refused(taught_by, tmp_path):
    weights, split, data = taught_by
    alone = _split_of(data)[1]
    with pytest.raises(RecipeError, match="name their folder with --unlabelled"):
        train(alone, split, tmp_path / "run", "cpu", progress=False, teacher=weights)
    other = LungDataModule(
        data.train_set.stacks, data.train_set.stacks, replace(data.recipe, pixel_mm=9.0), unlabelled=data.unlabelled
    )
    with pytest.raises(RecipeError, match="images of another pixel_mm than the student"):
        train(other, split, tmp_path / "run", "cpu", progress=False, teacher=weights)


def test_a_teacher_that_has_seen_a_test_patient_is_refused(taught_by, tmp_path):
    weights, split, data = taught_by
    tested_on_a = Split(("b",), ("c",), ("a",))
    with pytest.raises(SplitError, match="was trained on a, which this split validates or tests on"):
        train(data, tested_on_a, tmp_path / "run", "cpu", progress=False, teacher=weights)
    # and so is a student of such a teacher, as weights to begin from
    with pytest.raises(SplitError, match="was trained on a"):
        require_unseen(weights, {"data": "elsewhere", "teacher": split.to_dict()}, tested_on_a.to_dict())


def test_unlabelled_scans_change_what_is_learned_and_are_kept_with_the_weights(toy_case, toy_recipe, tmp_path):
    data = taught(toy_case, toy_recipe)
    split, alone = _split_of(data)
    weights = train(data, split, tmp_path / "run", "cpu", progress=False)
    assert load_weights(weights)[2]["unlabelled"] == {"data": "u", "train": ["u"]}
    without = train(alone, split, tmp_path / "alone", "cpu", progress=False)
    states = [load_weights(path)[0].state_dict() for path in (weights, without)]
    assert not torch.equal(states[0]["head.weight"], states[1]["head.weight"])
    with pytest.raises(TrainingError, match="other unlabelled scans"):
        train(alone, split, tmp_path / "run", "cpu", progress=False)


def test_a_recipe_without_average_has_no_teacher(toy_case, toy_recipe, tmp_path):
    data = taught(toy_case, replace(toy_recipe, averaged=False))
    with pytest.raises(RecipeError, match="averaged=True"):
        train(data, _split_of(data)[0], tmp_path / "run", "cpu", progress=False)


def test_the_teacher_answers_in_evaluation_mode_and_counts_no_scan(toy_case, toy_recipe, tmp_path):
    data = taught(toy_case, toy_recipe)
    module, average = MeanTeacher(data.recipe.to_dict(), ["a"]), MovingAverage()
    trainer = build_trainer(data.recipe, tmp_path / "run", "cpu")
    average.setup(trainer, module, "fit")
    before = {key: value.clone() for key, value in average.teacher.state_dict().items()}
    average.teacher(torch.randn(2, 3, 32, 32))
    assert not any(each.training for each in average.teacher.modules() if isinstance(each, nn.BatchNorm2d))
    assert all(torch.equal(value, before[key]) for key, value in average.teacher.state_dict().items())


@pytest.fixture
def toys(toy_case, toy_recipe, tmp_path):
    """A data set of five labelled patients, its split, and its stacks by role."""
    for name in ("p1", "p2", "p3", "p4", "p5"):
        case = toy_case(name)
        _shift(case.image, int(name[1]))
    split, stacks, _ = open_split(str(tmp_path), toy_recipe, workers=1)
    return split, stacks, toy_recipe, tmp_path


def _shift(image, by: int) -> None:
    """Make a patient's voxels their own: all toys are one chest."""
    raw = bytearray(gzip.decompress(image.read_bytes()))
    voxels = np.frombuffer(raw, np.int16, offset=352)
    voxels[voxels > -500] += by
    image.write_bytes(gzip.compress(bytes(raw), mtime=0))


def test_scans_of_nobody_else_are_taken(toys):
    split, stacks, recipe, root = toys
    (root / "more").mkdir()
    shutil.copy(root / "imagesTr" / f"{split.train[0]}.nii.gz", root / "more" / "x1.nii.gz")
    found, problems = open_unlabelled(root / "more", split, stacks, recipe, workers=1)
    assert [stack.id for stack in found.stacks] == ["x1"] and problems == []
    assert found.origin["data"] == "more" and found.origin["train"] == ["x1"] and len(found.origin["digest"]) == 16


@pytest.mark.parametrize("role", ["validation", "test"])
def test_a_leak_through_an_unlabelled_scan_is_refused(toys, role):
    """A test patient's scan under another name, and packed anew."""
    split, stacks, recipe, root = toys
    (root / "more").mkdir()
    voxels = gzip.decompress((root / "imagesTr" / f"{getattr(split, role)[0]}.nii.gz").read_bytes())
    (root / "more" / "harmless.nii").write_bytes(voxels)
    with pytest.raises(SplitError, match=rf"harmless is of {getattr(split, role)[0]}, whom .* for {role}; take it out"):
        open_unlabelled(root / "more", split, stacks, recipe, workers=1)


def test_another_scan_of_a_test_patient_is_refused(toys, toy_case):
    *_, recipe, root = toys
    second = toy_case("second")
    _shift(second.image, 40)
    second.label.unlink()
    tested = toys[0].test[0]
    rows = ["case,patient", f"second,{tested}", *(f"{name},{name}" for name in ("p1", "p2", "p3", "p4", "p5"))]
    (root / "patients.csv").write_text("\n".join(rows) + "\n")
    split, stacks, _ = open_split(str(root), recipe, workers=1)
    with pytest.raises(SplitError, match=rf"second is of {tested}, kept for scoring; take it out"):
        open_unlabelled(root, split, stacks, recipe, workers=1)


def test_a_folder_where_all_have_labels_is_told(toys):
    split, stacks, recipe, root = toys
    with pytest.raises(SourceError, match="every scan has a label; name a folder of scans that have none"):
        open_unlabelled(root, split, stacks, recipe, workers=1)


def test_weights_that_saw_a_test_patients_scan_without_label_are_no_start(toys, tmp_path):
    split, *_ = toys
    origin = {"data": split.data, "digest": split.digest, "patients": {}, "train": [split.test[0]]}
    with pytest.raises(SplitError, match=f"was trained on {split.test[0]}"):
        require_unseen(tmp_path / "w.ckpt", {"data": "elsewhere", "unlabelled": origin}, split.to_dict())


def _split_of(data: LungDataModule):
    """Return a split for a training, and the same data module without the unlabelled patients."""
    return Split(("a",), ("b",), ("c",)), LungDataModule(data.train_set.stacks, data.train_set.stacks, data.recipe)
