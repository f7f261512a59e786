"""Students of a teacher: what a network learns from unlabelled scans, beside what labels say."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RecipeError
from ..recipe import Recipe
from ..unet import UNet
from .callbacks import MovingAverage
from .lineage import SAME_INPUT, differing
from .losses import consistency_loss, pseudo_label_loss
from .segmenter import LungSegmenter

RAMP_UP = 0.3
"""The share of a training in which a mean teacher's weight rises: a young teacher knows nothing. Of the paper's 150,000
steps it was 40,000."""


class Student(LungSegmenter):
    """A network that learns from a teacher's answers to unlabelled patches too; the teacher sees another view of each.

    A batch is one of :class:`~lungseg_helpers.dataset.loaders.LungDataModule` with unlabelled patients.
    """

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Return the loss of the labelled half of a batch, and what the teacher adds to it; a scalar."""
        loss = super().training_step(batch["labelled"], batch_index)
        seen, shown = batch["unlabelled"]
        with torch.no_grad():
            answer = self.teacher(shown.contiguous(memory_format=self.memory_format))
        added = self.taught(self(seen), answer)
        self.log("taught_loss", added, on_step=False, on_epoch=True, batch_size=len(seen))
        return loss + added

    @property
    def teacher(self) -> nn.Module:
        """The network whose answers are learned, in evaluation mode."""
        raise NotImplementedError

    def taught(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return what the loss gains from a student's and a teacher's logits of one shape; a scalar."""
        raise NotImplementedError


class MeanTeacher(Student):
    """The student of a teacher that is the moving average of the student's own weights.

    After Tarvainen and Valpola, "Mean teachers are better role models" (NeurIPS 2017, arXiv:1703.01780). The teacher is
    the network that :class:`~.callbacks.MovingAverage` validates and keeps; the :func:`~.losses.consistency_loss`
    counts by the recipe's ``consistency`` and :func:`ramp_up`.
    """

    @property
    def teacher(self) -> nn.Module:
        (average,) = (each for each in self.trainer.callbacks if isinstance(each, MovingAverage))
        return average.teacher

    def taught(self, student: Tensor, teacher: Tensor) -> Tensor:
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        return self.recipe.consistency * ramp_up(self.global_step / steps) * consistency_loss(student, teacher)


class SelfTraining(Student):
    """The student of a network that stays as it is: :func:`~.losses.pseudo_label_loss` of the answers it is sure of."""

    def taught_by(self, network: UNet) -> SelfTraining:
        """Give the student its teacher. (As an argument of the constructor it would be kept in every checkpoint.)"""
        self.fixed = (network,)  # in a tuple it is no part of this module, and is not trained
        return self

    @property
    def teacher(self) -> nn.Module:
        return self.fixed[0].to(self.device).eval()

    def taught(self, student: Tensor, teacher: Tensor) -> Tensor:
        return pseudo_label_loss(student, teacher)


def ramp_up(progress: float) -> float:
    """Return the teacher's weight, 0.007 to 1, at a share of the training: e to the power of -5 (1 - t)², as the paper.

    t is ``progress`` divided by :data:`RAMP_UP`, and 1 at most.
    """
    return math.exp(-5 * (1 - min(1.0, progress / RAMP_UP)) ** 2)


def require_same_input(teacher: Recipe, student: Recipe) -> None:
    """Refuse a teacher that was trained on other images than its student's: :class:`RecipeError` says what differs."""
    if other := differing(teacher, student, SAME_INPUT):
        raise RecipeError(
            f"the teacher ({teacher.name}) was trained on images of another {', '.join(other)} than the student "
            f"({student.name}) sees; take a teacher that the student's recipe has trained"
        )
