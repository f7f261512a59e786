"""A mean teacher: what a network makes of unlabelled scans, beside what labels say."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from .callbacks import MovingAverage
from .losses import consistency_loss
from .segmenter import LungSegmenter

RAMP_UP = 0.3
"""The share of a training in which the teacher's weight rises: a young teacher knows nothing. Of the paper's 150,000
steps it was 40,000."""


class MeanTeacher(LungSegmenter):
    """The student of a teacher that is the moving average of the student's own weights.

    After Tarvainen and Valpola, "Mean teachers are better role models" (NeurIPS 2017, arXiv:1703.01780). To the loss of
    a labelled batch comes the :func:`~.losses.consistency_loss` of an unlabelled one, by the recipe's ``consistency``
    and :func:`ramp_up`. The teacher is the network that :class:`~.callbacks.MovingAverage` validates and keeps. It sees
    another view of each patch than the student does.
    """

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Return the loss of a batch of :class:`~lungseg_helpers.dataset.loaders.LungDataModule` with unlabelled."""
        loss = super().training_step(batch["labelled"], batch_index)
        seen, shown = batch["unlabelled"]
        (average,) = (each for each in self.trainer.callbacks if isinstance(each, MovingAverage))
        answer = average.teacher(shown.contiguous(memory_format=self.memory_format))
        apart = consistency_loss(self(seen), answer)
        self.log("consistency", apart, on_step=False, on_epoch=True, batch_size=len(seen))
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        return loss + self.recipe.consistency * ramp_up(self.global_step / steps) * apart


def ramp_up(progress: float) -> float:
    """Return the teacher's weight, 0.007 to 1, at a share of the training: e to the power of -5 (1 - t)², as the paper.

    t is ``progress`` divided by :data:`RAMP_UP`, and 1 at most.
    """
    return math.exp(-5 * (1 - min(1.0, progress / RAMP_UP)) ** 2)
