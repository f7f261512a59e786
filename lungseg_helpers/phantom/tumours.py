"""Tumours' recipes: how many, how large, of what kind, where, and whether lung collapses behind them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VOLUME_RANKS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
VOLUME_ML = (0.74, 2.66, 5.22, 17.6, 59.0, 250.0)
"""Task06's tumour volumes a case: minimum, quartiles, P90; its one giant of 370 mL is cut to fit any chest."""

KINDS = {"solid": 0.36, "lobulated": 0.22, "spiculated": 0.22, "part-solid": 0.08, "ground-glass": 0.07,
         "cavitated": 0.05}  # fmt: skip
"""Shares of kinds as seen in real Task06 patches: mostly solid."""

PERIPHERAL = {"lung": 0.46, "pleura": 0.36, "vessel": 0.18}
LARGE_PERIPHERAL, LARGE_FROM_ML = {"lung": 0.25, "pleura": 0.35, "vessel": 0.1, "base": 0.3}, 10.0
CENTRAL = {"hilum": 0.5, "mediastinum": 0.5}
SITES = (*LARGE_PERIPHERAL, *CENTRAL)
"""Sites, and their shares among peripheral and among central tumours; peripheral ones as seen in Task06 patches. In a
crowded chest some peripheral ones of ``LARGE_FROM_ML`` or more lie at the back of a lung's base, where collapsed lung
lies too, lest a network take every mass there for collapse; their share is the course's own."""

CENTRAL_ML, CENTRAL_SHARE = (2.0, 5.0, 20.0, 60.0), (0.25, 0.35, 0.55, 0.65)
"""Share of central tumours by volume. Cancers found by screening are central in 11 %, those that screening missed in
65 % (Kim et al., Transl Lung Cancer Res 10:4185, 2021); in a clinic's series it was 65 % of adenocarcinomas and 80 % of
squamous cell cancers (Rostad et al., Scand J Respir Dis 60:184, 1979). So large ones mostly are."""

MERGED = 0.6
"""Share of central tumours that grow into the fat of the mediastinum up to its vessels and heart; the course's own."""

COLLAPSE, COLLAPSE_FROM_ML = 0.45, 3.0
"""Share of central tumours from that volume (and of those at a base) with collapsed lung behind them, which makes about
12 % of all. Of advanced lung cancers 19 % (J BUON 15:679, 2010) to 48 % (Bülbül et al., Ups J Med Sci 115:176, 2010)
have it, of small cell cancers 22 % (Vaaler et al., Chest 111:115, 1997), of small peripheral ones almost none."""

GOLDEN = 0.6180339887498949

EXACT_SEEDS = 2**46
"""Up to here the product of seed and golden ratio has a fraction; beyond, floating point has none left."""


@dataclass(frozen=True)
class Tumour:
    """One tumour's recipe: labelled volume in mL, kind, site, HU of core and rim, edge width and
    the margin by which its reader drew too widely, both in mm; how many mm it grows beyond the
    lung, and the mL of lung that collapse behind it, 0 for none."""

    volume_ml: float
    kind: str
    site: str
    core_hu: float
    rim_hu: float
    edge_mm: float
    margin_mm: float
    invade_mm: float
    collapse_ml: float

    @property
    def radius(self) -> float:
        """Radius in mm of the ball of the same volume."""
        return float((self.volume_ml * 1000 * 0.75 / np.pi) ** (1 / 3))

    @property
    def central(self) -> bool:
        """Whether it lies at a hilum or the mediastinum."""
        return self.site in CENTRAL


def draw_tumours(seed: int, crowded: bool = False) -> list[Tumour]:
    """Draw a case's tumours: one mostly, two now and then.

    The case's total volume has the rank seed × golden ratio (modulo 1) in Task06's
    distribution: alone it is as good as random, yet a few consecutive seeds already
    cover small and large tumours evenly. The rank repeats after :data:`EXACT_SEEDS`; nothing else does.
    ``crowded`` as in :data:`SITES`.
    """
    rng = np.random.default_rng([seed, 2])
    rank = (seed % EXACT_SEEDS * GOLDEN + 0.5) % 1.0
    total = float(np.exp(np.interp(rank, VOLUME_RANKS, np.log(VOLUME_ML))))
    shares = [1.0] if total < 2 or rng.random() < 0.85 else [s := float(rng.uniform(0.55, 0.9)), 1 - s]
    return [_draw_one(rng, share * total, crowded) for share in shares]


def _draw_one(rng: np.random.Generator, volume: float, crowded: bool) -> Tumour:
    central = rng.random() < np.interp(np.log(volume), np.log(CENTRAL_ML), CENTRAL_SHARE)
    sites = CENTRAL if central else LARGE_PERIPHERAL if crowded and volume >= LARGE_FROM_ML else PERIPHERAL
    site = str(rng.choice(list(sites), p=list(sites.values())))
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == "cavitated" and volume < 3:
        kind = "solid"
    if kind in ("ground-glass", "part-solid") and (volume > 30 or central):
        kind = "lobulated"
    core = float(np.clip(rng.normal(18, 16), -30, 42))
    rim = core
    if kind == "ground-glass":
        core = rim = float(rng.uniform(-930, -480))
    elif kind == "part-solid":
        rim = float(rng.uniform(-750, -450))
    invade = float(rng.uniform(0, 6 if central else 3))
    if central and rng.random() < MERGED:
        invade = float(rng.uniform(6, 25))
    collapse = 0.0
    if central and volume >= COLLAPSE_FROM_ML and rng.random() < COLLAPSE:
        collapse = float(np.exp(rng.uniform(np.log(15), np.log(350))))
    elif site == "base" and rng.random() < COLLAPSE:
        collapse = float(np.exp(rng.uniform(np.log(5), np.log(80))))
    edge, margin = float(rng.uniform(0.8, 3.0)), float(rng.uniform(0.0, 1.3))
    return Tumour(volume, kind, site, core, rim, edge, margin, invade, collapse)
