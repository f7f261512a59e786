"""From tissue to a CT image: blur, kernel, noise along the rays, streaks, padding, whole HU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter1d, rotate

from .canvas import Canvas, interpolate

WATER_PER_MM = 0.02
"""Attenuation of water at the mean energy of a 120 kV beam, about 0.2 per cm."""

RAY_ANGLES = (0, 45, 90, 135)
"""Directions in degrees in which rays are followed; each stands for the 45° around it."""


EXPORT_WINDOWS = {None: 0.8, (-1000, 400): 0.08, (-1000, 1000): 0.05, (-1024, 250): 0.07}
"""Shares of scans whose values were cut off when they were exported, by a window's edges in HU; the course's own."""

SOFT_KERNELS = 0.3
"""Share of scans of a soft kernel, as radiotherapy planning uses: no edge is enhanced; the course's own."""


@dataclass(frozen=True)
class Scanner:
    """One scan's acquisition: blur (mm), slice thickness (mm), kernel sharpness (0…1), noise (HU
    deep in an average chest), streaks (0…1), padding HU or None, orientation on disk, and the window in HU that
    an export cut the values to, or None."""

    blur_mm: float
    thickness_mm: float
    sharpness: float
    noise_hu: float
    streaks: float
    padding_hu: int | None
    orientation: str
    window: tuple[int, int] | None = None


def draw_scanner(rng: np.random.Generator, canvas: Canvas) -> Scanner:
    """Draw protocol and reconstruction; slices may be thicker than their distance, as overlapping ones are."""
    thick = np.exp(rng.uniform(np.log(0.6), np.log(5.0)))
    sharp = float(rng.beta(1.2, 2.0))
    soft = 1.0
    if rng.random() < SOFT_KERNELS:
        sharp, soft = 0.3 * sharp, rng.uniform(1.1, 1.7)
    windows = list(EXPORT_WINDOWS)
    return Scanner(
        blur_mm=float(soft * rng.uniform(0.6, 1.1) * (1 - 0.4 * sharp)),
        thickness_mm=float(max(thick, 0.6 * canvas.spacing[0])),
        sharpness=sharp,
        noise_hu=float(np.exp(rng.uniform(np.log(2.0), np.log(11.0))) * (1 + 0.7 * sharp)),
        streaks=float(rng.uniform(0, 1) ** 2),
        padding_hu=[None, None, -1024, -2048][int(rng.integers(4))],
        orientation="LAS" if rng.random() < 0.5 else "RAS",
        window=windows[int(rng.choice(len(windows), p=list(EXPORT_WINDOWS.values())))],
    )


def blur(canvas: Canvas, scanner: Scanner) -> None:
    """Apply the slice profile across, the point spread within, and a sharp kernel's edge enhancement."""
    # A box of the slice's thickness has this standard deviation; painting already averages half a slice.
    across = np.sqrt(max(scanner.thickness_mm**2 / 12 - 0.25 * canvas.spacing[0] ** 2 / 12, 0.0)) / canvas.spacing[0]
    hu = canvas.hu
    if across > 0.2:
        hu = gaussian_filter1d(hu, across, axis=0, truncate=2.5)
    for axis in (1, 2):
        hu = gaussian_filter1d(hu, scanner.blur_mm / canvas.spacing[1], axis=axis, truncate=3)
    if scanner.sharpness > 0.3:
        wide = hu
        for axis in (1, 2):
            wide = gaussian_filter1d(wide, 1.3 / canvas.spacing[1], axis=axis, truncate=3)
        wide -= hu
        wide *= np.float32(-0.7 * (scanner.sharpness - 0.3))
        hu += wide
    canvas.hu = hu


def add_noise(canvas: Canvas, scanner: Scanner, rng: np.random.Generator) -> None:
    """Add noise and streaks as filtered back-projection makes them.

    Its spectrum is a ramp times the kernel's low-pass (Riederer et al., Phys Med Biol 1978).
    Noise of one direction runs along the rays of that direction, and is the stronger the more
    body they cross: shoulders give horizontal streaks. Bone hardens the beam and darkens its rays.
    """
    slices, rows, columns = canvas.shape
    levels, bias = _rays(canvas, scanner)
    fy = scipy.fft.fftfreq(rows)[:, None] / canvas.spacing[1]
    fx = scipy.fft.rfftfreq(columns)[None] / canvas.spacing[2]
    frequency = np.hypot(fy, fx)
    spectrum = np.sqrt(frequency + 0.004) * np.exp(-((frequency / (0.2 + 0.22 * scanner.sharpness)) ** 2))
    full = np.concatenate([spectrum, spectrum[:, 1:-1]], axis=1)
    spectrum /= np.sqrt(np.mean(full**2))
    # A ray's noise varies across it, so its frequencies point 90 degrees from it; squares sum to 1.
    angle = np.arctan2(fy, fx)
    wedges = []
    for ray in RAY_ANGLES:
        away = (angle - np.radians(ray + 90) + np.pi / 2) % np.pi - np.pi / 2
        wedges.append((spectrum * np.where(np.abs(away) < np.pi / 4, np.cos(2 * away), 0)).astype(np.float32))
    shared = np.float32(np.clip(scanner.thickness_mm / canvas.spacing[0] - 0.7, 0, 0.6))
    before = rng.standard_normal((1, rows, columns), dtype=np.float32)
    places = [np.linspace(0, n - 1, m) for n, m in zip(bias.shape, canvas.shape, strict=True)]
    for k in range(0, slices, 12):
        here = slice(k, min(k + 12, slices))
        at = [places[0][here], places[1], places[2]]
        white = rng.standard_normal((here.stop - k, rows, columns), dtype=np.float32)
        # Overlapping slices share some of their rays.
        mixed = white + shared * np.concatenate([before, white[:-1]])
        before = white[-1:]
        transform = scipy.fft.rfft2(mixed / np.sqrt(1 + shared**2))
        for wedge, level in zip(wedges, levels, strict=True):
            canvas.hu[here] += scipy.fft.irfft2(transform * wedge, s=(rows, columns)) * interpolate(level, at)
        canvas.hu[here] += interpolate(bias, at)


def _rays(canvas: Canvas, scanner: Scanner) -> tuple[list[np.ndarray], np.ndarray]:
    """Noise in HU for each ray direction, and beam-hardening bias in HU, on a coarse grid (slice, row, column)."""
    step = max(1, canvas.shape[1] // 64)
    few = canvas.hu[:: max(1, canvas.shape[0] // 28), ::step, ::step]
    tissue = np.clip(few / 1000 + 1, 0, 1.1)
    bone = np.clip((few - 250) / 1000, 0, 1)
    pixel = canvas.spacing[1] * step
    levels, bias = [], np.zeros_like(tissue)
    for angle in RAY_ANGLES:
        water, dense = (_along(field, angle) * pixel for field in (tissue, bone))
        # Relative to 240 mm of water; tube-current modulation takes away a third of the exponent.
        levels.append(scanner.noise_hu * np.sqrt(np.clip(np.exp(0.7 * WATER_PER_MM * (water - 240)), 0.06, 5)))
        bias -= dense - gaussian_filter1d(gaussian_filter1d(dense, 6, axis=1), 6, axis=2)
    return levels, bias * np.float32(0.6 * scanner.streaks)


def _along(field: np.ndarray, angle: int) -> np.ndarray:
    """Sum of a field along straight rays at ``angle`` degrees to the rows, given back to every pixel of a ray."""
    if angle % 90:
        turned = rotate(field, angle, axes=(1, 2), reshape=False, order=1)
        sums = np.broadcast_to(turned.sum(2, keepdims=True), field.shape)
        return np.maximum(rotate(sums, -angle, axes=(1, 2), reshape=False, order=1, mode="nearest"), 0)
    return np.broadcast_to(field.sum(2 if angle == 0 else 1, keepdims=True), field.shape)


def digitise(canvas: Canvas, scanner: Scanner) -> np.ndarray:
    """Whole HU, int16 (slice, row, column), with padding outside the round field of view, cut to the window if any."""
    image = np.clip(np.rint(canvas.hu), -1024, 3071).astype(np.int16)
    if scanner.padding_hu is not None:
        rows, columns = np.ogrid[: canvas.shape[1], : canvas.shape[2]]
        middle = (canvas.shape[1] - 1) / 2
        image[:, np.hypot(rows - middle, columns - middle) > canvas.shape[1] / 2 + 0.5] = scanner.padding_hu
    return image if scanner.window is None else np.clip(image, *scanner.window, out=image)
