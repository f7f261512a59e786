"""Trees that fill a lobe: arteries, veins and bronchi that branch and taper to below a voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MURRAY = 2.7
"""Exponent e of r^e = r1^e + r2^e at a fork; 2.7–3 was measured in pulmonary arteries
(Huang et al., J Appl Physiol 81:2123, 1996)."""


@dataclass
class Tree:
    """Segments as quadratic curves: ``start``, ``bend``, ``end`` (n, 3) as patient (x, y, z), ``radius`` (n,); mm."""

    start: np.ndarray
    bend: np.ndarray
    end: np.ndarray
    radius: np.ndarray

    def samples(self, spacing: float = 0.8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (m, 3) and radii (m,) in mm, and the mm of centreline that each point stands for (m,).

        ``spacing`` is about how many mm they are apart, where the radius does not ask for fewer.
        """
        length = np.linalg.norm(self.end - self.start, axis=1) * 1.04
        counts = np.maximum(2, np.ceil(length / np.maximum(spacing, 0.4 * self.radius))).astype(int)
        which = np.repeat(np.arange(len(counts)), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        t = ((np.arange(len(which)) - first + 0.5) / counts[which])[:, None]
        points = (1 - t) ** 2 * self.start[which] + 2 * t * (1 - t) * self.bend[which] + t**2 * self.end[which]
        return points, self.radius[which], (length / counts)[which]

    def beside(self, side: np.ndarray, wider_than: float, ratio: float) -> Tree:
        """The tree that runs alongside: as a bronchus does, ``ratio`` times as wide, touching its artery.

        It lies towards ``side`` (3,), a direction of any length; segments of at most ``wider_than`` mm have none.
        """
        keep = self.radius > wider_than
        off = (1.0 + ratio) * 1.15 * self.radius[keep, None] * side / np.linalg.norm(side)
        moved = (part[keep] + off for part in (self.start, self.bend, self.end))
        return Tree(*moved, ratio * self.radius[keep])


def grow(root: np.ndarray, toward: np.ndarray, goals: np.ndarray, tip_radius: float, rng: np.random.Generator) -> Tree:
    """Grow a tree from ``root`` (3,), leaving in direction ``toward`` (3,), to all ``goals`` (n, 3), mm.

    Every branch heads for the middle of its goals, stops part of the way, splits its goals
    by a plane along itself into a larger and a smaller share, and two branches go on.
    All branches of a generation are handled at once. ``tip_radius`` is that of the last ones.
    """
    group = np.zeros(len(goals), int)
    here, along = root[None].astype(float), (toward / np.linalg.norm(toward))[None]
    parts: list[tuple[np.ndarray, ...]] = []
    while len(goals):
        count = np.bincount(group)
        way = _sums(group, goals) / count[:, None] - here
        # Wide branches fork early, so that each goes straight to its part of the lobe.
        early = np.clip(0.52 - 0.04 * np.log2(count), 0.15, 1)
        share = np.where(count == 1, 1.0, early * rng.uniform(0.6, 1.4, len(count)))[:, None]
        length = np.linalg.norm(way, axis=1, keepdims=True) * share
        bend, tip = here + along * 0.45 * length, here + share * way
        parts.append((here, bend, tip, tip_radius * count ** (1 / MURRAY)))
        forks = count > 1
        goals = goals[forks[group]]
        group = (np.cumsum(forks) - 1)[group[forks[group]]]
        count, here = count[forks], tip[forks]
        along = here - bend[forks]
        along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-6
        if len(goals):
            side = _split(goals - here[group], group, count, along, rng)
            group = 2 * group + side
            here, along = np.repeat(here, 2, axis=0), np.repeat(along, 2, axis=0)
    return Tree(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _sums(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of ``values`` (n, k) over each group (n,), a number from 0: (groups, k)."""
    return np.stack([np.bincount(group, column) for column in values.T], 1)


def _split(
    away: np.ndarray, group: np.ndarray, count: np.ndarray, along: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Which of two branches (0 or 1) each goal follows, int (n,): cut where a group is widest across its branch.

    ``away`` is each goal's place from its branch's tip (n, 3) in mm, ``group`` its branch (n,), ``count`` the
    branches' numbers of goals (m,), ``along`` the branches' directions (m, 3).
    """
    across = away - (away * along[group]).sum(1, keepdims=True) * along[group]
    spread = np.stack([_sums(group, across * across[:, [axis]]) for axis in range(3)], 1)
    widest = np.argmax(np.diagonal(spread, axis1=1, axis2=2), axis=1)
    axis = spread[np.arange(len(count)), widest]
    axis /= np.linalg.norm(axis, axis=1, keepdims=True) + 1e-9
    axis += rng.normal(0, 0.25, axis.shape)
    order = np.lexsort(((across * axis[group]).sum(1), group))
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    smaller = np.clip(np.rint(count * rng.uniform(0.12, 0.5, len(count))), 1, count - 1)
    return (rank >= smaller[group]).astype(int)
