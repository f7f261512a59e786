"""The phantom's drawing board: a HU volume, patient coordinates in mm, soft-edged painting.

Everything is drawn in the patient's own frame: x to the patient's left, y to the back,
z to the head, all in mm. The arrays are (slice, row, column) as everywhere in the
course. A shape is painted by its signed distance (negative inside): a voxel that the
edge crosses gets a share of the new HU, which is the partial volume effect.
"""

from __future__ import annotations

import math

import numpy as np

Box = tuple[slice, slice, slice]
"""A block of the canvas, as an index into its arrays: (slice, row, column) in voxels."""

ALL: Box = (slice(None),) * 3  # type: ignore[assignment]
"""The whole canvas."""


class Canvas:
    """A HU volume together with where its voxels lie in the patient.

    Attributes: ``hu`` float32 (slice, row, column); ``spacing`` mm (slice, row, column);
    ``x`` and ``y`` float32 (row, column) and ``z`` float32 (slice,), patient mm.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        bottom: float,
        centre: tuple[float, float],
        turn_deg: float,
    ) -> None:
        """Lay the grid: lowest slice at z = ``bottom``, image centre at ``centre`` (x, y), turned about z."""
        self.shape, self.spacing = shape, spacing
        self.hu = np.full(shape, -1000.0, np.float32)
        self.z = (bottom + spacing[0] * np.arange(shape[0])).astype(np.float32)
        rows = (np.arange(shape[1]) - (shape[1] - 1) / 2) * spacing[1]
        columns = (np.arange(shape[2]) - (shape[2] - 1) / 2) * spacing[2]
        self._cos, self._sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
        self._centre = centre
        self.x = (self._cos * columns[None, :] + self._sin * rows[:, None] + centre[0]).astype(np.float32)
        self.y = (self._cos * rows[:, None] - self._sin * columns[None, :] + centre[1]).astype(np.float32)

    @property
    def soft(self) -> float:
        """Width of a soft edge in mm: one pixel, so that an edge's average position is kept."""
        return float(self.spacing[1])

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL."""
        return float(np.prod(self.spacing)) / 1000.0

    def index(self, points: np.ndarray) -> np.ndarray:
        """Turn patient points (n, 3) as (x, y, z) mm into fractional (slice, row, column) indices (n, 3)."""
        x, y = points[:, 0] - self._centre[0], points[:, 1] - self._centre[1]
        columns = (self._cos * x - self._sin * y) / self.spacing[2] + (self.shape[2] - 1) / 2
        rows = (self._sin * x + self._cos * y) / self.spacing[1] + (self.shape[1] - 1) / 2
        return np.stack([(points[:, 2] - self.z[0]) / self.spacing[0], rows, columns], axis=1)

    def point(self, index: np.ndarray) -> np.ndarray:
        """Turn (n, 3) (slice, row, column) indices into patient points (n, 3) as (x, y, z) mm."""
        columns = (index[:, 2] - (self.shape[2] - 1) / 2) * self.spacing[2]
        rows = (index[:, 1] - (self.shape[1] - 1) / 2) * self.spacing[1]
        x = self._cos * columns + self._sin * rows + self._centre[0]
        y = self._cos * rows - self._sin * columns + self._centre[1]
        return np.stack([x, y, self.z[0] + index[:, 0] * self.spacing[0]], axis=1)

    def box(self, low: tuple[float, float, float], high: tuple[float, float, float]) -> Box:
        """The smallest block of voxels that holds the patient box ``low`` … ``high`` (x, y, z mm)."""
        corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        index = self.index(corners)
        first = np.floor(index.min(axis=0)).astype(int)
        last = np.ceil(index.max(axis=0)).astype(int) + 1
        return tuple(
            slice(min(max(f, 0), n), max(min(b, n), 0)) for f, b, n in zip(first, last, self.shape, strict=True)
        )  # type: ignore[return-value]

    def around(self, centre: np.ndarray, reach: float) -> Box:
        """The block of voxels within ``reach`` mm of ``centre`` (x, y, z)."""
        return self.box(tuple(np.subtract(centre, reach)), tuple(np.add(centre, reach)))

    def mesh(self, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Patient x, y (1, row, column) and z (slice, 1, 1) of a block, ready to broadcast."""
        return self.x[None, box[1], box[2]], self.y[None, box[1], box[2]], self.z[box[0], None, None]

    def cover(self, distance: np.ndarray, soft: float | None = None) -> np.ndarray:
        """Share (0…1) of each voxel inside a surface, from signed distances in mm (negative inside)."""
        cover = distance * np.float32(-1.0 / (soft or self.soft))
        cover += np.float32(0.5)
        return np.clip(cover, 0.0, 1.0, out=cover)

    def paint(self, box: Box, distance: np.ndarray, hu: float | np.ndarray, soft: float | None = None) -> None:
        """Fill the shape given by signed ``distance`` (mm, over ``box``) with ``hu``, soft at its edge."""
        self.blend(box, self.cover(distance, soft), hu)

    def blend(self, box: Box, cover: np.ndarray, hu: float | np.ndarray) -> None:
        """Mix ``hu`` into a block by ``cover`` (0…1 a voxel)."""
        view = self.hu[box]
        view += cover * (hu - view)


def ellipsoid(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> np.ndarray:
    """Approximate signed distance in mm to an axis-parallel ellipsoid (exact for a sphere at its edge)."""
    scaled = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2
    scaled = np.sqrt(scaled + ((z - centre[2]) / radii[2]) ** 2)
    return (scaled - 1.0) * np.float32(min(radii))


def smooth_field(rng: np.random.Generator, canvas: Canvas, scale_mm: float, box: Box | None = None) -> np.ndarray:
    """Smooth random field, float32 (slice, row, column), over the canvas or a block, of about unit variance.

    Random numbers on a lattice of ``scale_mm``, interpolated linearly: far fewer operations than a filter needs.
    """
    shape = canvas.shape if box is None else canvas.z[box[0]].shape + canvas.x[box[1:]].shape
    counts = [int(np.ceil(n * s / scale_mm)) + 2 for n, s in zip(shape, canvas.spacing, strict=True)]
    # Interpolation takes away variance: 2/3 of it is left along each axis.
    field = rng.standard_normal(counts, dtype=np.float32) * np.float32(1.5**1.5)
    places = [np.arange(n) * (s / scale_mm) + rng.random() for n, s in zip(shape, canvas.spacing, strict=True)]
    return interpolate(field, places)


def interpolate(field: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """Read a 3-D field linearly at fractional indices given for each axis: a separable, fast enlargement."""
    for axis in (2, 1, 0):
        position = np.clip(places[axis], 0, field.shape[axis] - 1)
        low = np.minimum(position.astype(int), field.shape[axis] - 2)
        along = [1, 1, 1]
        along[axis] = -1
        share = (position - low).astype(np.float32).reshape(along)
        lower = np.take(field, low, axis=axis)
        field = np.take(field, low + 1, axis=axis)
        field -= lower
        field *= share
        field += lower
    return field


def tubes(canvas: Canvas, points: np.ndarray, radii: np.ndarray, step: float | np.ndarray) -> tuple[Box, np.ndarray]:
    """A block of the canvas and its coverage (0…1) by tubes given as dense samples of their centrelines.

    ``points`` (n, 3) patient mm, ``radii`` (n,) mm, ``step`` mm of centreline that each
    sample stands for. Wide tubes are unions of balls; thin ones are dust: grains
    of known volume, each shared among its eight nearest voxels, so that a vessel keeps its mass.
    """
    reach = float(radii.max()) + 2 * max(canvas.spacing)
    index = canvas.index(points)
    first = np.floor(index.min(axis=0) - reach / np.array(canvas.spacing)).astype(int)
    last = np.ceil(index.max(axis=0) + reach / np.array(canvas.spacing)).astype(int) + 1
    first, last = np.clip(first, 0, canvas.shape), np.clip(last, 0, canvas.shape)
    box: Box = tuple(slice(int(a), int(max(a, b))) for a, b in zip(first, last, strict=True))  # type: ignore
    cover = np.zeros(tuple(s.stop - s.start for s in box), np.float32)
    if cover.size:
        wide = radii > 0.8 * max(canvas.spacing)
        step = np.broadcast_to(step, len(points))
        _add_balls(canvas, cover, index[wide] - first, radii[wide])
        _add_dust(canvas, cover, index[~wide] - first, radii[~wide], step[~wide])
    return box, np.minimum(cover, 1.0, out=cover)


def _add_balls(canvas: Canvas, cover: np.ndarray, index: np.ndarray, radii: np.ndarray) -> None:
    """Raise ``cover`` to that of balls at fractional ``index`` (n, 3), in groups of like size."""
    flat = cover.reshape(-1)
    size = np.ceil(radii / 1.5).astype(int)
    for group in np.unique(size):
        reach = [int(np.ceil((1.5 * group + canvas.soft) / step)) for step in canvas.spacing]
        block = math.prod(2 * far + 1 for far in reach)
        chosen = np.flatnonzero(size == group)
        for part in np.array_split(chosen, 1 + len(chosen) * block // 1_000_000):
            # axis by axis: (ball, 2 reach + 1) each, which broadcasting makes the (ball, slice, row, column) of all
            square, at, inside = [], [], []
            for axis, far in enumerate(reach):
                steps = np.arange(-far, far + 1)
                nearest = np.rint(index[part, axis]).astype(int)[:, None]
                away = (steps - (index[part, axis, None] - nearest)).astype(np.float32)
                away *= np.float32(canvas.spacing[axis])
                voxel = nearest + steps
                square.append(away**2)
                at.append(voxel * math.prod(cover.shape[axis + 1 :]))
                inside.append((voxel >= 0) & (voxel < cover.shape[axis]))
            distance = np.sqrt(_spread(np.add, square)) - radii[part, None, None, None].astype(np.float32)
            share = canvas.cover(distance)
            held = (share > 0) & _spread(np.logical_and, inside)
            np.maximum.at(flat, _spread(np.add, at)[held], share[held])


def _spread(combine: np.ufunc, axes: list[np.ndarray]) -> np.ndarray:
    """Combine one array (n, length) per axis to (n, slice, row, column)."""
    return combine(combine(axes[0][:, :, None, None], axes[1][:, None, :, None]), axes[2][:, None, None, :])


def _even_ball(count: int) -> np.ndarray:
    """Points (count, 3) that fill a ball evenly: the additive sequence of Roberts (2018) in three dimensions.

    The ball is sqrt(5)/2 wide, so that its spread along an axis is that of a unit disc.
    """
    share = (0.5 + np.arange(1, count + 1)[:, None] * np.array([0.8191725, 0.6710436, 0.5497005])) % 1.0
    height, turn = 2 * share[:, 0] - 1, 2 * np.pi * share[:, 1]
    flat = np.sqrt(1 - height**2)
    points = np.stack([height, flat * np.cos(turn), flat * np.sin(turn)], 1)
    return (np.sqrt(5) / 2 * np.cbrt(share[:, 2:]) * points).astype(np.float32)


_BALL = _even_ball(509)


def _add_dust(canvas: Canvas, cover: np.ndarray, index: np.ndarray, radii: np.ndarray, step: np.ndarray) -> None:
    """Add thin tubes to ``cover`` as grains whose volumes sum to the tube's, trilinearly shared."""
    grains = np.maximum(1, np.ceil((radii / 0.45) ** 2)).astype(int)
    which = np.repeat(np.arange(len(index)), grains)
    # Grains step through an evenly filled ball, so that a tube does not look like gravel.
    around = _BALL[np.arange(len(which)) % len(_BALL)] * radii[which, None]
    where = index[which] + around / np.array(canvas.spacing)
    volume = (np.pi * radii**2 * step / grains)[which] / np.prod(canvas.spacing)
    inside = ((where >= 0) & (where < np.array(cover.shape) - 1.001)).all(1)
    where, volume = where[inside], volume[inside]
    low = where.astype(int)
    share = where - low
    base = (low[:, 0] * cover.shape[1] + low[:, 1]) * cover.shape[2] + low[:, 2]
    voxels, weights = [], []
    for up in np.ndindex(2, 2, 2):
        voxels.append(base + (up[0] * cover.shape[1] + up[1]) * cover.shape[2] + up[2])
        parts = [share[:, axis] if up[axis] else 1.0 - share[:, axis] for axis in range(3)]
        weights.append(volume * parts[0] * parts[1] * parts[2])
    total = np.bincount(np.concatenate(voxels), np.concatenate(weights), minlength=cover.size)
    cover += total.reshape(cover.shape).astype(np.float32)


def smooth_path(
    corners: list[tuple[float, float, float]], radii: list[float] | float, step: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) every ``step`` mm along a rounded polygon through ``corners``, and their radii (n,).

    ``corners`` are (x, y, z) in patient mm, as the points are; ``radii`` is one for all or one per corner, in mm.
    """
    points = np.array(corners, float)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, length[-1], max(2, int(length[-1] / step) + 1))
    path = np.stack([np.interp(at, length, p) for p in points.T], 1)
    half = min(len(at) // 4, int(8 / step))
    padded = np.concatenate([np.repeat(path[:1], half, 0), path, np.repeat(path[-1:], half, 0)])
    kernel = np.ones(2 * half + 1) / (2 * half + 1)
    path = np.stack([np.convolve(p, kernel, "valid") for p in padded.T], 1)
    return path, np.interp(at, length, np.broadcast_to(radii, len(points)))
