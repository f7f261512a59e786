"""Do phantoms look like patients? The three real patients against a set of phantoms, in numbers and in pictures.

    python -m benchmarks.realism

prints where each real figure lies among the phantoms', and draws ``data/realism.png`` (histograms, noise
spectrum, sizes) and ``data/real_or_phantom.png`` (slices side by side).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed
from scipy import ndimage

from lungseg_helpers.paths import data_dir
from lungseg_helpers.phantom.thorax import make_phantom
from lungseg_helpers.scans.lungs import lung_box, lung_mask
from lungseg_helpers.scans.masks import components
from lungseg_helpers.scans.orientation import oriented, oriented_spacing
from lungseg_helpers.scans.view import open_view
from lungseg_helpers.sources.datasets import fetch_real, find_cases

PHANTOM_SEEDS = tuple(range(900_001, 900_025))
"""Seeds that no data set of the course uses, so that what was learned is not what is judged."""

LUNG_HU = np.arange(-1020, -380, 20)
SOFT_HU = np.arange(-200, 310, 10)
TUMOUR_HU = np.arange(-900, 320, 40)
FREQUENCIES = np.linspace(0.02, 0.36, 8)
"""Edges in cycles/mm, up to the Nyquist frequency of a 256 matrix with the largest pixels of Task06."""
DIAMETERS_MM = np.array([1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 13, 20])
VESSEL_HU = -600
"""Above this a voxel inside the lung is vessel, wall, or lesion; lung lies near −860."""


@dataclass(frozen=True)
class Chest:
    """A scan turned (slice, row, column): ``ct`` HU float32, ``truth`` bool, ``spacing`` mm, matrix about 256."""

    name: str
    ct: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, float, float]


def halved(name: str, ct: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float]) -> Chest:
    """Average 2×2 pixels of a 512 matrix: phantoms have half as many, and sharpness must not give it away."""
    ct, truth = ct.astype(np.float32), truth > 0
    if ct.shape[1] > 300:
        rows, columns = (n // 2 * 2 for n in ct.shape[1:])
        parts = [(slice(r, rows, 2), slice(c, columns, 2)) for r in (0, 1) for c in (0, 1)]
        ct = sum(ct[:, r, c] for r, c in parts) / 4
        truth = sum(truth[:, r, c].astype(np.uint8) for r, c in parts) >= 2
        spacing = (spacing[0], 2 * spacing[1], 2 * spacing[2])
    return Chest(name, ct, truth, spacing)


def real_chests() -> list[Chest]:
    """Fetch and open the three real patients."""
    found = []
    for case in find_cases(fetch_real(data_dir() / "real")):
        view = open_view(case.image, truth=case.label)
        found.append(halved(case.id, view.ct, view.masks["truth"], view.spacing))
    return found


def phantom_chest(seed: int) -> Chest:
    """Make one phantom, as a chest."""
    phantom = make_phantom(seed)
    ct, truth = (oriented(array, phantom.affine) for array in (phantom.image, phantom.label))
    return Chest(f"phantom {seed}", ct.astype(np.float32), truth > 0, oriented_spacing(phantom.affine))


def histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of ``values`` in each bin; they sum to 1 where any value lies within the edges."""
    counts = np.histogram(values, edges)[0].astype(float)
    return counts / max(1.0, counts.sum())


def inner_lung(chest: Chest) -> np.ndarray:
    """Lungs with their vessels, 5 mm away from wall and mediastinum: bool (slice, row, column)."""
    air = lung_mask(chest.ct, chest.spacing, coarse_mm=3.0)  # finer than for a box: its rim is eroded below
    pixel = chest.spacing[1]
    ball = lambda mm: _disc(mm / pixel)  # noqa: E731
    closed = np.stack([ndimage.binary_closing(np.pad(plane, 12), ball(7))[12:-12, 12:-12] for plane in air])
    return np.stack([ndimage.binary_erosion(plane, ball(5)) for plane in closed])


def _disc(radius: float) -> np.ndarray:
    reach = int(np.ceil(radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return x * x + y * y <= radius * radius


def noise_spectrum(chest: Chest, side: int = 20, patches: int = 30) -> tuple[np.ndarray, float]:
    """Radial noise power in :data:`FREQUENCIES` (shares of the whole) and noise in HU, from quiet soft tissue.

    Of all squares of ``side`` pixels whose mean is that of soft tissue, the ``patches`` with
    the least spread hold the least anatomy; a plane is taken off each.
    """
    mean = ndimage.uniform_filter(chest.ct, (0, side, side))
    spread = ndimage.uniform_filter(chest.ct**2, (0, side, side)) - mean**2
    spread[(mean < 20) | (mean > 140)] = np.inf
    half = side // 2
    spread[:, :half] = spread[:, -half:] = np.inf
    spread[:, :, :half] = spread[:, :, -half:] = np.inf
    y, x = np.mgrid[:side, :side]
    design = np.stack([np.ones(side * side), y.ravel(), x.ravel()], axis=1)
    power = np.zeros((side, side))
    for _ in range(patches):
        k, r, c = np.unravel_index(np.argmin(spread), spread.shape)
        patch = chest.ct[k, r - half : r + half, c - half : c + half].ravel()
        patch = patch - design @ np.linalg.lstsq(design, patch, rcond=None)[0]
        power += np.abs(np.fft.fft2(patch.reshape(side, side))) ** 2 / patches
        spread[k, max(0, r - half) : r + half, max(0, c - half) : c + half] = np.inf
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None]) / chest.spacing[1]
    place = np.digitize(frequency, FREQUENCIES) - 1
    sums = np.array([power[place == i].mean() for i in range(len(FREQUENCIES) - 1)])
    return sums / sums.sum(), float(np.sqrt(power.sum()) / side**2)


def diameters(chest: Chest, inner: np.ndarray) -> np.ndarray:
    """Density of dense spots of each size in axial slices of the inner lung: number per dm² in :data:`DIAMETERS_MM`.

    A spot's diameter is that of the disc of its area: most are vessels cut across.
    """
    counts, area = np.zeros(len(DIAMETERS_MM) - 1), 0.0
    pixel = chest.spacing[1] * chest.spacing[2]
    for plane, region, truth in zip(chest.ct, inner, chest.truth, strict=True):
        labels, _ = ndimage.label((plane > VESSEL_HU) & region & ~truth)
        sizes = np.bincount(labels.ravel())[1:] * pixel
        counts += np.histogram(2 * np.sqrt(sizes / np.pi), DIAMETERS_MM)[0]
        area += region.sum() * pixel
    return counts / (area / 1e4)


def measure(chest: Chest) -> dict[str, np.ndarray]:
    """Everything that is compared, by name; shapes follow from the bins above."""
    inner = inner_lung(chest)
    body = ndimage.binary_erosion(chest.ct > -250, _disc(2)[None]) & ~chest.truth
    spectrum, noise = noise_spectrum(chest)
    labels, count = components(chest.truth)
    volumes = np.bincount(labels.ravel())[1:] * np.prod(chest.spacing) / 1000
    return {
        "lung": histogram(chest.ct[inner], LUNG_HU),
        "soft": histogram(chest.ct[body], SOFT_HU),
        "tumour": histogram(chest.ct[chest.truth], TUMOUR_HU),
        "noise power": spectrum,
        "noise HU": np.array([noise]),
        "vessels": diameters(chest, inner),
        "tumour mL": volumes[volumes > 0.05] if count else np.zeros(0),
    }


def summary(found: dict[str, np.ndarray]) -> dict[str, float]:
    """One number for each kind of likeness: what a table and a test can hold."""
    middle = lambda edges: (edges[1:] + edges[:-1]) / 2  # noqa: E731
    soft = middle(SOFT_HU)
    dense = soft > 0
    quantile = lambda hist, edges, q: float(np.interp(q, np.cumsum(hist) / hist.sum(), edges[1:]))  # noqa: E731
    return {
        "lung, median HU": quantile(found["lung"], LUNG_HU, 0.5),
        "lung, 10th–90th percentile, HU": quantile(found["lung"], LUNG_HU, 0.9) - quantile(found["lung"], LUNG_HU, 0.1),
        "fat, most frequent HU": float(soft[~dense][np.argmax(found["soft"][~dense])]),
        "muscle and organs, most frequent HU": float(soft[dense][np.argmax(found["soft"][dense])]),
        "tumour, median HU": quantile(found["tumour"], TUMOUR_HU, 0.5),
        "noise in soft tissue, HU": float(found["noise HU"][0]),
        "noise, mean frequency, 1/mm": float((found["noise power"] * middle(FREQUENCIES)).sum()),
        "vessels of 2–4 mm, per dm²": float(found["vessels"][1:4].sum()),
        "vessels of 4–8 mm, per dm²": float(found["vessels"][4:7].sum()),
        "vessels above 8 mm, per dm²": float(found["vessels"][7:].sum()),
        "largest tumour, mL": float(found["tumour mL"].max()),
    }


def draw_measures(real: dict[str, dict], phantoms: list[dict], path: Path) -> None:
    """Draw each distribution: phantoms as a band of 5th to 95th percentile with their median, patients as lines."""
    panels = [
        ("lung", LUNG_HU, "lung, HU"),
        ("soft", SOFT_HU, "soft tissue, HU"),
        ("tumour", TUMOUR_HU, "tumour, HU"),
        ("noise power", FREQUENCIES, "noise power, cycles/mm"),
        ("vessels", DIAMETERS_MM, "spots in the lung, mm"),
        ("tumour mL", None, "tumour volume, mL"),
    ]
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
    for axis, (key, edges, title) in zip(axes.flat, panels, strict=True):
        axis.set_title(title, fontsize=10)
        if edges is None:
            volumes = np.sort(np.concatenate([each[key] for each in phantoms]))
            axis.plot(volumes, np.linspace(0, 1, len(volumes)), color="0.45", lw=2, label="phantoms")
            for name, found in real.items():
                axis.axvline(found[key].max(), ls="--", lw=1.5, color=axis._get_lines.get_next_color(), label=name)
            axis.set(xscale="log", ylabel="share below")
            continue
        middle = (edges[1:] + edges[:-1]) / 2
        band = np.array([each[key] for each in phantoms])
        low, mid, high = np.percentile(band, (5, 50, 95), axis=0)
        axis.fill_between(middle, low, high, color="0.85", label="phantoms, 5–95 %")
        axis.plot(middle, mid, color="0.45", lw=2, label="phantoms, median")
        for name, found in real.items():
            axis.plot(middle, found[key], lw=1.5, label=name)
        axis.set_ylabel("number per dm²" if key == "vessels" else "share")
        axis.set_ylim(bottom=0)
    axes[0, 0].legend(fontsize=7)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def draw_side_by_side(chests: list[Chest], path: Path, seed: int = 5) -> list[str]:
    """Draw slices of all chests in a random order, numbered and not named; return the names in that order."""
    order = np.random.default_rng(seed).permutation(len(chests))
    figure, axes = plt.subplots(4, len(chests), figsize=(1.75 * len(chests), 5.6), layout="constrained")
    for number, (column, at) in enumerate(zip(axes.T, order, strict=True), 1):
        chest = chests[at]
        box = lung_box(chest.ct, chest.spacing, 12)
        (_, _), (r0, r1), (c0, c1) = box
        through = int(chest.truth.sum(axis=(1, 2)).argmax())
        low, high = box[0]
        for axis, k, (vmin, vmax) in zip(
            column,
            (through, through, int(low + 0.35 * (high - low)), int(low + 0.7 * (high - low))),
            ((-1350, 150), (-160, 240), (-1350, 150), (-1350, 150)),
            strict=True,
        ):
            axis.imshow(chest.ct[k, r0:r1, c0:c1], cmap="gray", vmin=vmin, vmax=vmax, aspect="auto")
            axis.axis("off")
        column[0].set_title(str(number), fontsize=9)
    figure.savefig(path, dpi=85)
    plt.close(figure)
    return [chests[at].name for at in order]


def main() -> None:
    real = real_chests()
    made = Parallel(n_jobs=-1)(delayed(phantom_chest)(seed) for seed in PHANTOM_SEEDS)
    found = {chest.name: measure(chest) for chest in real}
    phantoms = [measure(chest) for chest in made]
    rows = [summary(each) for each in phantoms]
    names = list(found)
    print("| | " + " | ".join(names) + " | phantoms, 5th – 50th – 95th percentile |")
    print("|---" * (len(names) + 2) + "|")
    for key in rows[0]:
        low, mid, high = np.percentile([row[key] for row in rows], (5, 50, 95))
        values = " | ".join(f"{summary(found[name])[key]:.3g}" for name in names)
        print(f"| {key} | {values} | {low:.3g} – {mid:.3g} – {high:.3g} |")
    folder = Path(__file__).resolve().parent.parent / "data"
    draw_measures(found, phantoms, folder / "realism.png")
    order = draw_side_by_side(real + made[:5], folder / "real_or_phantom.png")
    print("real_or_phantom.png, from left to right:", ", ".join(order))


if __name__ == "__main__":
    main()
