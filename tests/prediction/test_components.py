"""What was predicted, component by component: volumes, probabilities and places, however the scan is turned."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from dicoms import write_series
from pandas.testing import assert_frame_equal
from test_files import Brightness
from toy import SPACING, toy_volume

from lungseg_helpers.evaluation.scores import find_pairs
from lungseg_helpers.prediction.components import (
    DECIMALS,
    caption,
    component_table,
    read_components,
    write_components,
)
from lungseg_helpers.prediction.files import predict_cases, scans_of
from lungseg_helpers.prediction.inference import predict_stack
from lungseg_helpers.preprocessing.grids import from_grid, values_from_grid
from lungseg_helpers.preprocessing.stacks import make_stack
from lungseg_helpers.scans.orientation import oriented
from lungseg_helpers.scans.scan import Scan, read_scan

PLACES = {
    "right middle zone": ((26, 50, 20), 18),
    "left upper zone": ((68, 48, 30), 14),
    "left lower zone": ((70, 40, 9), 12),
    "middle, middle zone": ((48, 48, 20), 9),
}
"""Balls in the toy chest: centre in voxels (x, y, z) as on disk, radius in mm; the largest first."""

ORIENTATIONS = ["LPS", "RAS", "LAS", "SPL", "PIR", "ASL", "RSA", "IRP"]


def balls(*places):
    """Return the toy chest's HU, int16, and a mask of balls in it that are denser than the body."""
    hu, _ = toy_volume(tumour=False)
    axes = np.meshgrid(*map(np.arange, hu.shape), indexing="ij")
    mask = np.zeros(hu.shape, np.uint8)
    for centre, radius in places:
        near = sum(((axis - mid) * mm) ** 2 for axis, mid, mm in zip(axes, centre, SPACING, strict=True))
        mask[near < radius**2] = 1
    return np.where(mask > 0, 60, hu).astype(np.int16), mask


def turned(array, axcodes="LPS"):
    """Return an array of the toy chest as a scan whose axes run another way."""
    affine = np.array([[-4.0, 0, 0, 190], [0, -4.0, 0, 170], [0, 0, 6.0, -300], [0, 0, 0, 1]])
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axcodes))
    image = nib.Nifti1Image(array, affine).as_reoriented(turn)
    return Scan(None, np.asanyarray(image.dataobj), image.affine, image.header)


def table_of(hu, mask, probability=None, axcodes="LPS"):
    scan = turned(hu, axcodes)
    seen = oriented(turned(mask, axcodes).voxels, scan.affine)
    probability = np.full(mask.shape, 0.9, np.float32) if probability is None else probability
    likely = oriented(turned(probability, axcodes).voxels, scan.affine)
    return component_table(scan, seen, likely[seen > 0])


def test_every_place_is_named_however_the_scan_is_turned():
    hu, mask = balls(*PLACES.values())
    expected = table_of(hu, mask)
    assert [caption(row).split(", ", 2)[2] for _, row in expected.iterrows()] == list(PLACES)
    centres = [[190 - 4 * x, 170 - 4 * y, 6 * z - 300] for (x, y, z), _ in PLACES.values()]
    np.testing.assert_allclose(expected[["x_mm", "y_mm", "z_mm"]], centres, atol=0.1)
    assert list(expected["slice"]) == [z + 1 for (_, _, z), _ in PLACES.values()]
    assert list(expected["lung_share"] > 0.9) == [True, True, True, False]
    assert list(expected["component"]) == [1, 2, 3, 4] and (np.diff(expected["ml"]) < 0).all()
    for axcodes in ORIENTATIONS:
        assert_frame_equal(table_of(hu, mask, axcodes=axcodes), expected, atol=1e-4)


def test_mirrored_the_sides_are_exchanged():
    hu, mask = balls(*PLACES.values())
    plain, mirrored = table_of(hu, mask), table_of(hu[::-1], mask[::-1])
    exchanged = plain["side"].map({"right": "left", "left": "right", "middle": "middle"})
    assert list(mirrored["side"]) == list(exchanged)
    assert_frame_equal(plain[["zone", "ml", "lung_share"]], mirrored[["zone", "ml", "lung_share"]])


@pytest.mark.parametrize(("x", "low", "high"), [(15, 0.3, 0.8), (7, 0.0, 0.0), (28, 1.0, 1.0)])
def test_at_the_wall_a_part_of_the_surface_is_at_lung(x, low, high):
    """The right lung's wall runs through x = 14; at 7 lies muscle, close to the room's air."""
    (share,) = table_of(*balls(((x, 48, 20), 16 if x > 7 else 6)))["lung_share"]
    assert low <= share <= high


def test_a_tumour_at_the_heart_belongs_to_its_lung():
    """At x = 42 the right lung ends, 24 mm from the midline: half of a ball there lies in the lung."""
    (row,) = table_of(*balls(((41, 48, 20), 16))).to_dict("records")
    assert row["side"] == "right" and 0.5 <= row["lung_share"] < 0.9


def test_volumes_add_up_and_probabilities_are_the_components_own():
    hu, mask = balls(*PLACES.values())
    mask[0, 0, 0] = mask[1, 1, 1] = 1  # one component, by a corner
    probability = np.random.default_rng(0).uniform(0.5, 1, mask.shape).astype(np.float32)
    table = table_of(hu, mask, probability, "RAS")
    assert table["ml"].sum() == pytest.approx(mask.sum() * np.prod(SPACING) / 1000)
    assert len(table) == len(PLACES) + 1
    corner = probability[[0, 1], [0, 1], [0, 1]]
    last = table.iloc[-1]
    assert last["mean_probability"] == pytest.approx(corner.mean())
    assert last["highest_probability"] == pytest.approx(corner.max())
    assert table["ml"].mul(table["mean_probability"]).sum() / table["ml"].sum() == pytest.approx(
        probability[mask > 0].mean(), abs=1e-5
    )


def test_without_lungs_there_is_no_place(tmp_path):
    _, mask = balls(*PLACES.values())
    table = table_of(np.full(mask.shape, 40, np.int16), mask)
    assert len(table) == 4 and (table["side"] == "").all() and table["lung_share"].isna().all()
    assert caption(table.iloc[0]) == f"1: {table['ml'][0]:.1f} mL, p 0.90"
    back = read_components(write_components(table, tmp_path / "a.csv"))
    assert_frame_equal(back, table.round(DECIMALS), check_dtype=False)


def test_nothing_predicted_is_an_empty_table_with_its_header(tmp_path):
    hu, mask = balls()
    table = table_of(hu, mask)
    path = write_components(table, tmp_path / "a.csv")
    assert path.read_text() == ",".join(DECIMALS) + "\n"
    assert list(read_components(path).columns) == list(table.columns) and len(table) == len(read_components(path)) == 0


@pytest.mark.parametrize("axcodes", ["LAS", "RAS", "SPL"])
def test_predict_writes_the_table_beside_the_mask(toy_case, toy_recipe, tmp_path, axcodes):
    case = toy_case("a", axcodes, tilt_deg=7.0)
    recipe = replace(toy_recipe, pixel_mm=4.0, threshold=0.6)
    (found,) = dict(predict_cases(Brightness(), recipe, [case], tmp_path / "out", progress=False)).values()
    assert found.components == tmp_path / "out" / "a_components.csv" and found.components in found.files
    table, mask = read_components(found.components), read_scan(found.mask, "label")
    assert table["ml"].sum() == pytest.approx(mask.voxels.sum() * np.prod(mask.spacing) / 1000, abs=1e-3)
    assert list(table["side"]) == ["right"] and list(table["zone"]) == ["middle zone"]
    assert 0.6 <= table["mean_probability"][0] <= table["highest_probability"][0] <= 1
    centre = nib.affines.apply_affine(mask.affine, np.argwhere(mask.voxels).mean(axis=0))
    np.testing.assert_allclose(table.loc[0, ["x_mm", "y_mm", "z_mm"]].astype(float), centre, atol=0.06)
    areas = oriented(mask.voxels, mask.affine).sum(axis=(1, 2))
    assert areas[table["slice"][0] - 1] == areas.max()


def test_tables_are_no_scans_and_no_predictions(toy_case, toy_recipe, tmp_path):
    case = toy_case("a")
    out = case.image.parent
    write_series(tmp_path / "dicom")
    scans, lines = scans_of([case.image, tmp_path / "dicom"])
    results = [result for _, result in predict_cases(Brightness(), toy_recipe, scans, out, progress=False)]
    assert all(result.components.is_file() for result in results) and not lines
    again, lines = scans_of([out])
    assert [scan.id for scan in again] == ["a"] and not [line for line in lines if "components" in line]
    pairs, problems, _ = find_pairs(case.label.parent, out)
    assert list(pairs) == ["a"] and not [line for line in problems if "components" in line]


def test_probabilities_at_a_masks_voxels_are_those_of_the_whole_map(toy_case, toy_recipe):
    stack = make_stack(toy_case("a"), toy_recipe)
    probability = predict_stack(Brightness(), toy_recipe, stack)
    whole = from_grid(probability, stack.grid)
    mask = from_grid(probability, stack.grid, 0.4)
    values = values_from_grid(probability, stack.grid, mask)
    assert mask.any()
    np.testing.assert_array_equal(values, whole[mask > 0])
    assert values_from_grid(probability, stack.grid, 0 * mask).shape == (0,)


def test_captions_are_as_the_readme_has_them():
    row = pd.Series({"component": 1, "ml": 7.52, "mean_probability": 0.934, "side": "right", "zone": "upper zone"})
    assert caption(row) == "1: 7.5 mL, p 0.93, right upper zone"
    assert caption({**row, "side": "middle"}) == "1: 7.5 mL, p 0.93, middle, upper zone"
