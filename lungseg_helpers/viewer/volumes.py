"""What is sent to the browser of a scan: smaller where it is large, its axes towards the right, the front and the head.

A whole chest of 512 × 512 × 300 voxels is 150 MB, and a browser keeps it several times over. So a large scan is shown
on a coarser grid, whose voxels are means of the scan's. A voxel of a mask there is set where any of its parts is: a
find of few voxels stays to be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage

from ..scans.scan import Scan

MOST_VOXELS = 12_000_000
"""So many voxels are sent at most; as int16 they are 24 MB."""


@dataclass(frozen=True)
class Shown:
    """A scan and what lies on it, as the browser gets them: arrays (x, y, z), x to the right, y to the front, z up.

    ``ct`` is int16 HU; ``layers`` are uint8 by name: masks of 0 and 1, or a probability in 255ths. ``affine`` (4, 4)
    takes voxels to mm (RAS). ``steps`` says how many voxels of the scan, as it is stored, became one along each axis.
    """

    ct: np.ndarray
    layers: dict[str, np.ndarray]
    affine: np.ndarray
    steps: tuple[int, int, int]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """The mm from voxel to voxel to the right, to the front and up."""
        x, y, z = nib.affines.voxel_sizes(self.affine)
        return float(x), float(y), float(z)

    def voxel(self, mm: np.ndarray) -> np.ndarray:
        """Return the voxel (3,), not rounded, at a place (3,) in mm (RAS)."""
        return np.linalg.solve(self.affine, [*mm, 1.0])[:3]

    def share(self, mm: np.ndarray) -> list[float]:
        """Return a place (3,) in mm (RAS) as shares of the volume's sides, 0 to 1: how NiiVue counts."""
        shares = (self.voxel(mm) + 0.5) / self.ct.shape
        return [float(share) for share in np.clip(shares, 0, 1)]

    def nifti(self, name: str = "") -> bytes:
        """Return the CT, or the layer of that name, as the bytes of a NIfTI file."""
        image = nib.Nifti1Image(self.layers[name] if name else self.ct, self.affine)
        image.header.set_xyzt_units("mm")
        return image.to_bytes()


def shown(scan: Scan, layers: Mapping[str, np.ndarray], most: int = MOST_VOXELS, surfaces: Iterable[str] = ()) -> Shown:
    """Return a scan and the layers on it for the browser, in at most about ``most`` voxels.

    ``layers`` are arrays of the scan's own (x, y, z) shape, uint8 or bool, by name. The finest axes are halved first,
    so voxels become more alike, not less. Of the masks named in ``surfaces`` the voxels inside are left out, so that
    each plane shows an outline.
    """
    steps = _steps(scan, most)
    affine = scan.affine @ nib.affines.from_matvec(np.diag(np.array(steps, float)), (np.array(steps) - 1) / 2)
    turn = nib.io_orientation(affine)
    shape = tuple(size // step for size, step in zip(scan.voxels.shape, steps, strict=True))
    parts = list(_parts(scan.voxels, steps))
    ct = np.clip(np.rint(sum(part.astype(np.float32) for part in parts) / len(parts)), -(2**15), 2**15 - 1)
    smaller = {name: np.maximum.reduce([*_parts(layer, steps)]).astype(np.uint8) for name, layer in layers.items()}
    for name in {*surfaces} & smaller.keys():
        smaller[name] = smaller[name] * ~ndimage.binary_erosion(smaller[name])
    smaller = {name: nib.apply_orientation(layer, turn) for name, layer in smaller.items()}
    return Shown(
        nib.apply_orientation(ct.astype(np.int16), turn),
        smaller,
        affine @ nib.orientations.inv_ornt_aff(turn, shape),
        steps,
    )


def _steps(scan: Scan, most: int) -> tuple[int, int, int]:
    steps = np.ones(3, int)
    while np.prod(np.array(scan.voxels.shape) // steps) > most:
        sides = np.array(scan.spacing) * steps
        steps[sides < 1.01 * sides.min()] += 1  # pixels that are squares stay squares
    return tuple(int(step) for step in steps)


def _parts(array: np.ndarray, steps: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Yield the voxels of an array (x, y, z) that become one, place by place; what is left over at the ends is cut."""
    ends = [size // step * step for size, step in zip(array.shape, steps, strict=True)]
    for starts in np.ndindex(*steps):
        yield array[tuple(slice(*each) for each in zip(starts, ends, steps, strict=True))]
