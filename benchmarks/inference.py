"""From scan to mask and to video: beside a plain loop, MONAI's sliding window, and plain celluloid.

The same weights and the same real scan on all sides. The plain loop is what a tutorial writes: the
whole scan as float64, every slice resized, one slice at a time through the network, its answer
resized back. The two ways' masks are compared voxel by voxel.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import imageio_ffmpeg
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import torch
from celluloid import Camera
from matplotlib.animation import FFMpegWriter
from monai.inferers import SlidingWindowInferer
from scipy import ndimage

from lungseg_helpers.dataset.slices import context_offsets, read_channels
from lungseg_helpers.evaluation.metrics import dice
from lungseg_helpers.paths import SHIPPED_WEIGHTS, SLICE_WEIGHTS
from lungseg_helpers.prediction.files import predict_cases
from lungseg_helpers.prediction.inference import predict_case, predict_stack
from lungseg_helpers.preprocessing.stacks import make_stack
from lungseg_helpers.recipe import Recipe
from lungseg_helpers.scans.case import Case
from lungseg_helpers.scans.orientation import oriented, oriented_spacing, unoriented
from lungseg_helpers.scans.view import open_view
from lungseg_helpers.sources.datasets import ensure_dataset, find_cases
from lungseg_helpers.training.weights import load_weights
from lungseg_helpers.unet import UNet
from lungseg_helpers.video.camera import VIDEO_OPTIONS
from lungseg_helpers.video.films import shoot, turn
from lungseg_helpers.video.layout import DPI, FULL
from lungseg_helpers.video.overlay import PREDICTION, TRUTH, draw_slice

from .fresh import alone, high_water_mb
from .table import Row

plt.rcParams["animation.ffmpeg_path"] = imageio_ffmpeg.get_ffmpeg_exe()

ROUNDS = 3
LONG = 1000
"""Slices of the long scan whose peak memory is measured."""


def predict_plainly(network: UNet, recipe: Recipe, case: Case) -> np.ndarray:
    """The plain loop: a mask (x, y, z) of the whole scan, slice by slice, without a crop."""
    image = nib.load(case.image)
    ct = oriented(image.get_fdata(), image.affine)
    spacing = oriented_spacing(image.affine)
    rows, columns = (max(1, round(ct.shape[axis] * spacing[axis] / recipe.pixel_mm)) for axis in (1, 2))
    small = [recipe.intensity(cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)) for plane in ct]
    offsets = context_offsets(recipe, spacing[0])
    mask = np.zeros(ct.shape, np.uint8)
    for index in range(len(ct)):
        channels = [small[min(max(index + offset, 0), len(ct) - 1)] for offset in offsets]
        with torch.no_grad():
            probability = torch.sigmoid(network(torch.from_numpy(np.stack(channels))[None]))[0, 0].numpy()
        mask[index] = cv2.resize(probability, ct.shape[:0:-1], interpolation=cv2.INTER_LINEAR) > recipe.threshold
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = ndimage.sum(mask, labels, range(count + 1)) * np.prod(spacing) / 1000
    return unoriented((mask > 0) & (sizes >= recipe.smallest_ml)[labels], image.affine)


def _taken(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def predicting(case: Case) -> list[Row]:
    """Whole way from file to mask, beside the plain loop."""
    ours, plain = [], []
    network, recipe, _ = load_weights(SLICE_WEIGHTS)
    plain_network = load_weights(SLICE_WEIGHTS)[0].to(memory_format=torch.contiguous_format)
    for _ in range(ROUNDS):
        seconds, found = _taken(lambda: predict_case(network, recipe, case, flips=False).mask)
        ours.append(seconds)
        seconds, other = _taken(lambda: predict_plainly(plain_network, recipe, case))
        plain.append(seconds)
    differ = 100 * np.mean((found > 0) != (other > 0))
    a, b = statistics.median(ours), statistics.median(plain)
    twice, _ = _taken(lambda: predict_case(network, recipe, case, flips=True))
    note = f"{case.id}, {found.shape}, no flips; {differ:.4f} % of voxels differ (asked: 0.1 at most), Dice of the two "
    note += f"masks {dice(found, other):.3f}; with flips ours takes {twice:.2f} s"
    return [Row("predict, seconds per scan", a, "s", b, b / a, "at least 3", note)]


def sliding(case: Case) -> list[Row]:
    """The network's part alone, beside MONAI's sliding window of the training patch with its own overlap."""
    network, recipe, _ = load_weights(SLICE_WEIGHTS)
    stack = make_stack(case, recipe)
    slices = torch.from_numpy(np.stack([read_channels(stack, each, recipe) for each in range(len(stack.ct))]))
    inferer = SlidingWindowInferer(recipe.patch, sw_batch_size=16)
    times: dict[str, list[float]] = {"ours": [], "monai": []}
    for _ in range(ROUNDS):
        times["ours"].append(_taken(lambda: predict_stack(network, recipe, stack, flips=False))[0])
        with torch.inference_mode():
            times["monai"].append(_taken(lambda: inferer(slices, network).sigmoid())[0])
    a, b = (statistics.median(each) for each in times.values())
    note = f"{len(slices)} slices; MONAI gets its channels ready made, ours includes making them"
    return [Row("predict, beside MONAI's sliding window", a, "s", b, b / a, "at least 1", note)]


def film_plainly(case: Case, path: Path) -> None:
    """Plain celluloid: every frame's artists are made anew and kept, and the whole figure is drawn for each."""
    view = open_view(case.image, truth=case.label, prediction=case.label)
    height = FULL * view.ct.shape[1] * view.spacing[1] / (view.ct.shape[2] * view.spacing[2])
    figure = plt.figure(figsize=(FULL / DPI, height / DPI), dpi=DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    camera = Camera(figure)
    for index, (plane, truth) in enumerate(zip(view.ct, view.masks["truth"], strict=True)):
        draw_slice(ax, plane, view.spacing[1:], truth, truth, note=f"slice {index + 1}/{len(view.ct)}")
        handles = [ax.plot([], [], **style)[0] for style in (TRUTH, PREDICTION)]
        ax.legend(handles=handles, loc="lower left")
        camera.snap()
    camera.animate(interval=100).save(
        path,
        FFMpegWriter(
            10, "libx264", extra_args=[*VIDEO_OPTIONS, "-pix_fmt", "yuv420p", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2"]
        ),
    )
    plt.close(figure)


def film_ours(case: Case, path: Path) -> None:
    """The course's film of the same."""
    shoot(turn(open_view(case.image, truth=case.label, prediction=case.label)), path, progress=False)


def filming(case: Case) -> list[Row]:
    """Frames a second from file to mp4, beside plain celluloid."""
    frames = len(open_view(case.image).ct)
    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            for name, work in (("ours", film_ours), ("plain", film_plainly)):
                rates[name].append(frames / _taken(lambda work=work: work(case, Path(folder) / "film.mp4"))[0])
    a, b = (statistics.median(each) for each in rates.values())
    note = f"{frames} slices of {case.id}, two contours; reading and H.264 included; ours adds rulers, bar and close-up"
    return [Row("video, frames/s", a, "1/s", b, a / b, "at least 3", note)]


def peak_gb(path: Path) -> float:
    """Segment a scan, write mask and probabilities, and return this process's peak memory in GB."""
    network, recipe, _ = load_weights(SHIPPED_WEIGHTS)
    ((_, result),) = predict_cases(network, recipe, [Case("long", path)], path.parent, probability=True)
    if isinstance(result, Exception):
        raise result
    return high_water_mb() / 1024


def memory(case: Case) -> list[Row]:
    """Peak memory on a scan of 512 × 512 × 1000, made of a real one by repeating its slices."""
    with tempfile.TemporaryDirectory() as folder:
        image = nib.load(case.image)
        voxels = np.asanyarray(image.dataobj).astype(np.int16)
        index = np.arange(LONG) * voxels.shape[2] // LONG
        affine = image.affine.copy()
        affine[:3, 2] *= voxels.shape[2] / LONG
        path = Path(folder) / "long.nii.gz"
        nib.save(nib.Nifti1Image(voxels[..., index], affine), path)
        shape = (*voxels.shape[:2], LONG)
        del voxels
        found = alone(peak_gb, path)
    note = f"{shape}, all of the process"
    return [Row("predict, peak memory of a long scan", found, "GB", target="under 3", note=note)]


def rows() -> list[Row]:
    """Measure on the first real patient and return the figures."""
    case = find_cases(ensure_dataset("real"))[0]
    return [row for work in (predicting, sliding, filming, memory) for row in work(case)]
