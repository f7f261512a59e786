"""From tissue to a CT image: blur, kernel, noise that depends on dose and body, padding, whole HU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter1d, zoom

from .phantom_canvas import Canvas


@dataclass(frozen=True)
class Scanner:
    """One scan's acquisition: blur (mm), slice thickness (mm), kernel sharpness, noise (HU), padding."""

    blur_mm: float
    thickness_mm: float
    sharpness: float
    noise_hu: float
    padding_hu: int | None
    orientation: str


def draw_scanner(rng: np.random.Generator, canvas: Canvas) -> Scanner:
    """Draw protocol and reconstruction; slices are often thicker than their distance."""
    thick = float(np.clip(np.exp(rng.uniform(np.log(0.6), np.log(5.0))), 0.5 * canvas.spacing[0], 5.0))
    sharp = float(rng.beta(1.2, 2.0))
    return Scanner(
        blur_mm=float(rng.uniform(0.45, 0.75) * (1 - 0.4 * sharp)),
        thickness_mm=thick,
        sharpness=sharp,
        noise_hu=float(np.exp(rng.uniform(np.log(6.0), np.log(26.0))) * (1 + 1.2 * sharp)),
        padding_hu=[None, None, -1024, -2048][int(rng.integers(4))],
        orientation="LAS" if rng.random() < 0.5 else "RAS",
    )


def blur(canvas: Canvas, scanner: Scanner) -> None:
    """Apply the point spread in the slice, the slice profile across, and a sharp kernel's edge enhancement."""
    hu = canvas.hu
    across = scanner.thickness_mm / 2.6 / canvas.spacing[0]
    hu = gaussian_filter1d(hu, min(across, 1.3), axis=0, truncate=2.5)
    for axis in (1, 2):
        hu = gaussian_filter1d(hu, scanner.blur_mm / canvas.spacing[1], axis=axis, truncate=3)
    if scanner.sharpness > 0.25:
        wide = hu
        for axis in (1, 2):
            wide = gaussian_filter1d(wide, 1.0, axis=axis, truncate=3)
        hu += 0.8 * (scanner.sharpness - 0.25) * (hu - wide)
    canvas.hu = hu


def add_noise(canvas: Canvas, scanner: Scanner, rng: np.random.Generator) -> None:
    """Add correlated noise whose size follows the X-ray path through the body.

    Its spectrum is a ramp times the kernel's low-pass, as filtered back-projection makes
    it (Riederer et al., Phys Med Biol 1978).
    """
    slices, rows, columns = canvas.shape
    fy = scipy.fft.fftfreq(rows)[:, None] / canvas.spacing[1]
    fx = scipy.fft.rfftfreq(columns)[None] / canvas.spacing[2]
    f = np.hypot(fy, fx)
    cut = 0.30 + 0.35 * scanner.sharpness
    shape = np.sqrt(f + 0.01) * np.exp(-((f / cut) ** 2))
    full = np.hypot(fy, scipy.fft.fftfreq(columns)[None] / canvas.spacing[2])
    power = np.mean((full + 0.01) * np.exp(-2 * (full / cut) ** 2))
    shape = (shape / np.sqrt(power)).astype(np.float32)
    level = scanner.noise_hu * path_factor(canvas)
    for k in range(0, slices, 16):
        white = rng.standard_normal((min(16, slices - k), rows, columns), dtype=np.float32)
        noise = scipy.fft.irfft2(scipy.fft.rfft2(white) * shape, s=(rows, columns))
        canvas.hu[k : k + 16] += noise * level[k : k + 16]


def path_factor(canvas: Canvas) -> np.ndarray:
    """Relative noise (slice, row, column): large deep in the body and between the shoulders, small in air."""
    step = max(1, canvas.shape[1] // 32)
    small = np.clip(canvas.hu[::4, ::step, ::step] / 1000 + 1, 0, 2)
    pixel = canvas.spacing[1] * step
    path_x = small.sum(2, keepdims=True) * pixel
    path_y = small.sum(1, keepdims=True) * pixel
    # Half of the mean attenuation of water (0.02 per mm), as noise is the root of variance.
    variance = 0.5 * np.exp(0.02 * (path_x - 250)) + 0.5 * np.exp(0.02 * (path_y - 200)) + 0 * small
    smooth = gaussian_filter1d(gaussian_filter1d(np.sqrt(np.clip(variance, 0.08, 6)), 1.5, axis=1), 1.5, axis=2)
    rows = zoom(smooth, [1, canvas.shape[1] / smooth.shape[1], canvas.shape[2] / smooth.shape[2]], order=1)
    nearest = np.minimum(np.rint(np.arange(canvas.shape[0]) / 4).astype(int), len(rows) - 1)
    return rows[nearest].astype(np.float32)


def digitise(canvas: Canvas, scanner: Scanner) -> np.ndarray:
    """Whole HU, int16 (slice, row, column), with the scanner's padding outside its round field of view."""
    image = np.clip(np.rint(canvas.hu), -1024, 3071).astype(np.int16)
    if scanner.padding_hu is not None:
        rows, columns = np.ogrid[: canvas.shape[1], : canvas.shape[2]]
        middle = (canvas.shape[1] - 1) / 2
        outside = np.hypot(rows - middle, columns - middle) > canvas.shape[1] / 2 + 0.5
        image[:, outside] = scanner.padding_hu
    return image
