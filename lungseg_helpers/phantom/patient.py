"""Who lies on the table: every number that differs from patient to patient, drawn once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas

RADIOTHERAPY = 0.35
"""Share of scans made to plan a radiotherapy: on a flat couch, mostly without contrast, in a wide field."""

ARMS_UP = 0.75
"""Share of patients with raised arms; the others' lie at the sides, in the picture or cut off by its field."""

PHASES = {True: {"plain": 0.6, "arterial": 0.15, "venous": 0.25}, False: {"plain": 0.3, "arterial": 0.3, "venous": 0.4}}
"""Shares of contrast phases, in radiotherapy (True) and diagnostic scans (False)."""


@dataclass(frozen=True)
class Patient:
    """One patient's body. Lengths in mm, angles in degrees, attenuations in HU, shares 0…1.

    Heights are measured from the lowest point of the lungs (z = 0) to their apex (z =
    ``height``); ``u`` = z / height is used throughout. x = 0 is the midline, y = 0 the
    front of the vertebral bodies at mid-chest. ``hila`` is how far the right and the left hilum lie outwards, backwards
    and upwards of the usual place; None in a chest that is not :attr:`crowded`.
    """

    female: bool
    height: float
    half_width: float
    depth: float
    kyphosis: float
    fat: float
    muscle: float
    turn: float
    arms_up: bool
    radiotherapy: bool
    dome: tuple[float, float]
    heart: float
    age: float
    lung_hu: float
    gravity_hu: float
    mottle_hu: float
    dependent_hu: float
    emphysema: float
    aorta_hu: float
    right_heart_hu: float
    left_heart_hu: float
    venous_hu: float
    hila: tuple[tuple[float, ...], ...] | None = None

    @property
    def crowded(self) -> bool:
        """Whether hila have as many vessels as a patient's, and some lymph nodes are large."""
        return self.hila is not None

    @property
    def wall(self) -> float:
        """Thickness of ribs and the muscles on them, in mm."""
        return 12.0 + self.muscle

    @property
    def vertebra(self) -> float:
        """Height of one vertebra with its disc, in mm: eleven and a bit make up the lungs' height."""
        return 0.088 * self.height

    @property
    def carina(self) -> float:
        """Height z in mm at which the windpipe forks."""
        return 0.62 * self.height

    def hilum(self, side: int) -> tuple[float, float, float]:
        """Where a side's main pulmonary artery ends (x, y, z) mm; ``side`` is -1 right, 1 left."""
        x, y, z = self.hila[0 if side < 0 else 1] if self.hila else (0.0, 0.0, 0.0)
        return (side * (40.0 + x), -16.0 + y, self.carina - (20 if side < 0 else 16) + z)

    def lobe_root(self, side: int, lobe: str, vein: bool) -> tuple[float, float, float]:
        """Where the artery (or vein) of ``lobe`` ("upper", "middle", "lower") enters it, (x, y, z) mm."""
        along, back, down = {"upper": (4, -2, -6), "middle": (8, -8, 26), "lower": (7, 8, 34)}[lobe]
        x, y, z = self.hilum(side)
        if vein:
            return (x - side * 6, y - 8, self.carina - (40 if lobe == "upper" else 60))
        return (x + side * along, y + back, z - down)

    def u(self, z: np.ndarray) -> np.ndarray:
        """Height as a share of the lungs' height."""
        return z / self.height

    def spine_y(self, z: np.ndarray) -> np.ndarray:
        """Where the front of the vertebral bodies lies (mm, + to the back): the thoracic kyphosis."""
        return -self.kyphosis * (np.asarray(z) / self.height - 0.42) ** 2 / 0.3

    def cage_half_width(self, z: np.ndarray) -> np.ndarray:
        """Half the inner width of the rib cage: nearly straight below, tapering to the apex."""
        return self.half_width * np.interp(
            self.u(z), [-0.3, 0.0, 0.2, 0.4, 0.6, 0.75, 0.88, 1.0, 1.2],
            [0.93, 0.97, 1.0, 0.98, 0.92, 0.82, 0.68, 0.5, 0.3])  # fmt: skip

    def cage_back(self, z: np.ndarray) -> np.ndarray:
        """How far back the lung gutters reach, y in mm."""
        return self.spine_y(z) + np.interp(self.u(z), [-0.3, 0.0, 0.4, 0.8, 1.0], [40.0, 44.0, 48.0, 40.0, 34.0])

    def cage_front(self, z: np.ndarray) -> np.ndarray:
        """The inner surface behind the breast bone, y in mm: it slopes backwards to the apex."""
        share = np.interp(
            self.u(z), [-0.3, 0.0, 0.25, 0.45, 0.65, 0.8, 0.9, 1.0, 1.2],
            [0.92, 0.97, 1.0, 0.98, 0.89, 0.75, 0.62, 0.5, 0.4])  # fmt: skip
        return self.cage_back(z) - self.depth * share


def draw_patient(rng: np.random.Generator, crowded: bool = False) -> Patient:
    """Draw a patient: adult build and the contrast phase of the scan; ``crowded`` as in :class:`Patient`."""
    female = bool(rng.random() < 0.42)
    size = rng.normal(0.95 if female else 1.03, 0.05)
    radiotherapy = bool(rng.random() < RADIOTHERAPY)
    # Blood without contrast is about 40 HU.
    phase = rng.choice(list(PHASES[radiotherapy]), p=list(PHASES[radiotherapy].values()))
    aorta = {"plain": rng.uniform(30, 48), "arterial": rng.uniform(200, 380), "venous": rng.uniform(120, 200)}[phase]
    right = {"plain": aorta, "arterial": aorta * rng.uniform(0.6, 1.4), "venous": aorta * rng.uniform(0.9, 1.1)}[phase]
    return Patient(
        female=female,
        height=float(rng.normal(262, 22) * size),
        half_width=float(np.clip(rng.normal(128, 8) * size, 102, 152)),
        depth=float(np.clip(rng.normal(172, 16) * size, 135, 215)),
        kyphosis=float(rng.uniform(12, 38)),
        fat=float(np.clip(rng.gamma(3.2, 5.0), 3, 45)),
        muscle=float(np.clip(rng.normal(9 if female else 12, 3), 4, 20)),
        turn=float(np.clip(rng.normal(0, 1 if radiotherapy else 3), -7, 7)),  # lasers align those to be treated
        arms_up=bool(rng.random() < ARMS_UP),
        radiotherapy=radiotherapy,
        dome=(float(rng.uniform(50, 105)), float(rng.uniform(40, 95))),
        heart=float(rng.uniform(0.88, 1.15) * size),
        age=float(rng.uniform(0, 1)),
        # without a held breath there is less air in the lungs
        lung_hu=float(np.clip(rng.normal(-862, 24) + radiotherapy * rng.uniform(0, 45), -900, -795)),
        gravity_hu=float(rng.uniform(15, 90)),
        mottle_hu=float(rng.uniform(10, 26)),
        dependent_hu=float(max(0.0, rng.uniform(-120, 320))),
        emphysema=float(max(0.0, rng.uniform(-0.8, 1.0))),
        aorta_hu=float(aorta),
        right_heart_hu=float(right),
        left_heart_hu=float(aorta * rng.uniform(0.9, 1.1)),
        venous_hu=float(right if rng.random() < 0.6 else right * rng.uniform(1.0, 2.5)),
        hila=tuple(tuple(rng.normal(0, (3, 4, 6)).tolist()) for _ in range(2)) if crowded else None,
    )


def draw_canvas(rng: np.random.Generator, patient: Patient, matrix: int) -> Canvas:
    """Choose the field of view and the slices, and return the empty canvas.

    Task06 has 512 pixels of 0.598–0.977 mm a side and a median of 252 slices; a smaller
    matrix keeps the field of view and takes proportionally fewer, thicker slices.
    """
    needed = 2 * (patient.half_width + patient.wall + patient.fat) + rng.uniform(15, 70)
    if patient.radiotherapy:
        needed = max(needed, rng.uniform(400, 520))  # the dose needs the whole skin, and the couch is seen
    pixel = float(np.clip(needed / 512, 0.598, 0.977)) * 512 / matrix
    slices = max(12, round(rng.integers(90, 131) * matrix / 256))
    # Some scans begin above the lungs' bases, and some end at the chin.
    below = rng.uniform(-80, -5) if rng.random() < 0.25 else rng.uniform(5, 90)
    above = rng.uniform(5, 60)
    spacing = (patient.height + below + above) / slices
    middle = float((patient.cage_front(np.array(90.0)) + patient.cage_back(np.array(90.0))) / 2)
    centre = (float(rng.normal(0, 5)), middle + float(rng.uniform(-5, 15)))
    return Canvas((slices, matrix, matrix), (spacing, pixel, pixel), -below, centre, patient.turn)
