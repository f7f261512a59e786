"""The checks behind the exercises of notebook 05, as in :mod:`~lungseg_helpers.course.exercises`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def patient_dice(answer: Callable) -> str | None:
    """05: Dice of two masks, honest about empty ones."""
    rng = np.random.default_rng(5)
    # of unequal sizes, so that recall, precision and Dice differ; the last two masks hold other values than 1
    pairs = [tuple((rng.random((3, 5, 6)) < share).astype(np.uint8) for share in shares) for shares in _SHARES]
    pairs += [(255 * pairs[0][0], 7 * pairs[0][1])]
    for truth, predicted in pairs:
        given, inside, drawn = float(answer(truth.copy(), predicted.copy())), truth > 0, predicted > 0
        common, both = int((inside & drawn).sum()), int((inside | drawn).sum())
        right = 2 * common / int(inside.sum() + drawn.sum())
        if math.isclose(given, right):
            continue
        if truth.max() > 1:
            return "A mask may hold other values than 1: take everything above 0."
        for wrong, hint in (
            (common / inside.sum(), "That is recall, how much of the tumour was found: painting everything gets 1."),
            (common / drawn.sum(), "That is precision, how much of the prediction is tumour: one sure voxel gets 1."),
            (common / both, "That is the intersection over union; Dice counts what is common twice."),
            (right / 2, "Count what is common twice: equal masks have to score 1."),
            ((inside == drawn).mean(), "That is how many voxels agree, and nearly all are background: look at tumour."),
        ):
            if math.isclose(given, float(wrong)):
                return hint
        if math.isclose(given, right, rel_tol=1e-3):
            return "Nearly. Is there an ε in it? Leave it out, and return NaN where both masks are empty."
        said = (
            f"{inside.sum()} and {drawn.sum()} voxels with {common} in common make {right:.3f}; yours says {given:.3f}."
        )
        return f"{said} It is 2 · common / (sum of both)."
    some, none = pairs[0][0], np.zeros_like(pairs[0][0])
    missed = [float(answer(*pair)) for pair in ((some, none), (none, some))]
    if all(0 < given < 1e-3 for given in missed):
        return "Nearly. Is there an ε in it? Leave it out: a missed tumour scores 0."
    if any(given != 0 for given in missed):
        return "A missed tumour scores 0, and so does one that is not there."
    empty = float(answer(none, none))
    if empty == 1:
        return "Nothing against nothing is 0/0. Calling it 1 rewards a model that predicts nothing: return NaN."
    if not math.isnan(empty):
        return "Nothing against nothing is undefined: return float('nan') and leave the patient out of the mean."
    return None


_SHARES = ((0.5, 0.2), (0.2, 0.6), (0.4, 0.3))
"""How much of the exercise's volumes the true and the predicted mask fill."""


def count_found(answer: Callable) -> str | None:
    """05: how many lesions are found by overlap, from numbered lesions and numbered components."""
    labels, pieces = _chest_of_nine()
    given, nothing = int(answer(labels, pieces)), int(answer(labels, np.zeros_like(pieces)))
    if nothing != 0:
        return "With nothing predicted, nothing is found. Does 0, the background, count as a tumour or as a piece?"
    if given == 9:
        return "Each of the nine is touched, but not each is found: compare overlap with union."
    for number, why in (
        (1, "Two pieces of a twentieth of the tumour each make a tenth: take them together, and take ≥."),
        (2, "A smear across a tumour does not belong to it: less than a tenth of the smear lies inside. Leave it out."),
        (
            3,
            "Of a large piece over a small tumour only a thirteenth lies inside, so it is a smear: that one is missed.",
        ),
        (4, "One voxel of a tumour of 25 is no find: its intersection over union is 1 / 25."),
        (
            5,
            "A piece over a tumour and twice as much beside it has an intersection over union of a third: it is found.",
        ),
        (6, "A fifth of that tumour is covered, but of both together 4 voxels of 50 are common: divide by the union."),
        *(
            (one, "A piece over two tumours belongs to both: each has 9 of its 40 voxels, and is found.")
            for one in (7, 8)
        ),
        (9, "A piece of ten voxels of which one is tumour belongs to it: at least a tenth is ≥, not >."),
    ):
        alone = int(answer((labels == number).astype(int), pieces))
        if alone != (number not in (3, 4, 6)):
            return why
    if given == 5:
        return "A piece may belong to more than one tumour: do not use it up with the first."
    if given != 6:
        return f"Of these nine, 6 are found; yours says {given}. Do the pieces of one tumour count for another?"
    return None


def _chest_of_nine() -> tuple[np.ndarray, np.ndarray]:
    """Return nine numbered lesions, each with a trap, and the numbered components of a prediction."""
    labels, pieces = np.zeros((8, 12, 12), int), np.zeros((8, 12, 12), int)
    labels[0, :4, :10] = 1
    pieces[0, 0, :2], pieces[0, 3, 8:10] = 1, 2
    labels[1, 4:7, 4:7] = 2
    pieces[1, 4:6, 4:7] = 3
    pieces[1, 6, 6:], pieces[1, 7:] = 4, 4
    labels[2, 2:4, 2:5] = 3
    pieces[2, :6] = 5
    pieces[2, :2, 6:] = 5
    pieces[2, 6, :6] = 5
    labels[3, :5, :5] = 4
    pieces[3, 4, 4] = 6
    labels[4, 3:6, 3:6] = 5
    pieces[4, 3:6, 2:11] = 7
    labels[5, 2:4, 1:11] = 6
    pieces[5, 3, 1:5] = 8
    pieces[5, 4:7, 1:11] = 8
    labels[6, 4:7, 1:4], labels[6, 4:7, 6:9] = 7, 8
    pieces[6, 4:8, 1:11] = 9
    labels[7, 5, 5] = 9
    pieces[7, 5, 1:11] = 10
    return labels, pieces


def patient_by_patient(answer: Callable) -> str | None:
    """05: differences of two models' Dice, of the same patients."""
    rng, nan = np.random.default_rng(5), float("nan")
    one = {f"patient {number}": float(value) for number, value in enumerate(rng.uniform(0.1, 0.9, 7))}
    other = {name: float(np.clip(value + rng.normal(-0.05, 0.2), 0, 1)) for name, value in list(one.items())[::-1]}
    del one["patient 2"], other["patient 5"]
    one["patient 0"], other["patient 3"] = nan, nan
    known = ("patient 1", "patient 4", "patient 6")
    right = {name: one[name] - other[name] for name in known}
    given = answer(dict(one), dict(other))
    if not isinstance(given, dict):
        return "Return a dict, patient → difference: the mean is taken afterwards, and each must stay with its patient."
    if set(given) - set(one) or set(given) - set(other):
        return "Each dict lacks somebody: only patients whom both know can be compared."
    if any(math.isnan(value) for value in given.values()):
        return "A difference with NaN is none: leave the patient out, whichever of the two it is."
    if set(given) != set(known):
        return f"Of these patients, {', '.join(known)} have a number from both; yours has {', '.join(sorted(given))}."
    if all(math.isclose(given[name], -right[name]) for name in known):
        return "The sign is turned: positive where `one` is better."
    if all(math.isclose(given[name], abs(right[name])) for name in known):
        return "Keep the sign: where `other` is better, the difference is negative."
    for name in known:
        if not math.isclose(given[name], right[name]):
            return f"{name}: {one[name]:.3f} - {other[name]:.3f} is {right[name]:+.3f}; yours says {given[name]:+.3f}."
    return None


def choose_threshold(answer: Callable) -> str | None:
    """05: the threshold of the highest mean Dice of validation patients."""
    nan, rng = float("nan"), np.random.default_rng(5)
    # the best patient, the highest median and the highest sum lie at other thresholds than the highest mean
    traps = {0.2: [0.95, 0.05, 0.1], 0.35: [0.6, 0.55, 0.5], 0.5: [0.63, 0.62, 0.1], 0.8: [0.4, 0.4, 0.45]}
    drawn = [{round(float(cut), 2): rng.uniform(0, 1, 5).tolist() for cut in np.linspace(0.1, 0.9, 7)} for _ in "abcd"]
    for scores in (traps, *drawn, {0.2: [0.3, nan], 0.4: [0.5, 0.4], 0.6: [nan, 0.6], 0.8: [0.7, 0.1]}):
        given, means = answer({cut: list(each) for cut, each in scores.items()}), {}
        means = {cut: float(np.nanmean(each)) for cut, each in scores.items()}
        if given == (right := max(means, key=means.get)):
            continue
        if given in range(len(scores)) and given not in scores:
            return "Return the threshold itself, not its place in the list."
        if not isinstance(given, float) or given not in scores:
            return "Return one of the thresholds, a key of `scores`."
        if any(np.isnan(each).any() for each in scores.values()):
            return "A patient whose Dice is undefined (NaN) is left out of the mean: np.nanmean, not np.mean or a sum."
        if given == min(means, key=means.get):
            return "That is the lowest mean; the highest is asked for."
        if given == max(scores, key=lambda cut: max(scores[cut])):
            return "That threshold has the best single patient. Compare the means over patients."
        if given == max(scores, key=lambda cut: np.median(scores[cut])):
            return "That is the highest median, which forgets the missed patients: the mean is asked for."
        return f"{right} has the highest mean, {means[right]:.3f}; yours says {given}, which has {means[given]:.3f}."
    return None
