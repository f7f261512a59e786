"""The panel: what its buttons, boxes and lists do to the view, as far as no browser is needed."""

import numpy as np
import pandas as pd
import pytest

from lungseg_helpers.hounsfield import WINDOWS
from lungseg_helpers.scans.scan import read_scan
from lungseg_helpers.viewer import still
from lungseg_helpers.viewer.still import three_planes
from lungseg_helpers.viewer.widget import HEAT, OPACITY, Viewer


@pytest.fixture
def seen(toy_case):
    case = toy_case()
    scan, label = read_scan(case.image), read_scan(case.label, "label")
    places = np.argwhere(label.voxels > 0)
    rows = []
    for number, place in ((1, places.mean(axis=0)), (2, places[0])):
        x, y, z = scan.affine[:3] @ [*place, 1]
        rows.append({"component": number, "ml": 3.0, "mean_probability": 0.7, "x_mm": x, "y_mm": y, "z_mm": z,
                     "side": "right", "zone": "upper zone"})  # fmt: skip
    layers = {"truth": label.voxels, "prediction": label.voxels, HEAT: label.voxels * 200}
    return scan, layers, pd.DataFrame(rows)


def test_it_begins_at_the_first_find_and_goes_round(seen):
    scan, layers, finds = seen
    viewer = Viewer()
    viewer.show(scan, layers, finds, "a <b>title</b>")
    at = [viewer.nv.scene.crosshair_pos]
    for _ in range(2):
        viewer.next.click()
        at.append(viewer.nv.scene.crosshair_pos)
    assert at[0] == at[2] != at[1]
    assert at[0] == viewer.seen.share(finds.loc[0, ["x_mm", "y_mm", "z_mm"]].to_numpy(float))
    viewer.before.click()
    assert viewer.finds.value == 2 and viewer.nv.scene.crosshair_pos == at[1]
    with pytest.raises(KeyError):
        viewer.jump(3)
    assert "a &lt;b&gt;title" in viewer.note.value


def test_it_says_the_slice_and_the_hu_of_the_place(seen):
    scan, layers, finds = seen
    viewer = Viewer()
    viewer.show(scan, layers, finds)
    place = np.rint(np.argwhere(layers["truth"] > 0).mean(axis=0)).astype(int)
    assert f"<b>{scan.voxels[tuple(place)]} HU</b>" in viewer.place.value
    assert viewer.slice.value == place[2] + 1 and viewer.slice.max == scan.voxels.shape[2]
    before = viewer.nv.scene.crosshair_pos
    viewer.slice.value += 1
    after = viewer.nv.scene.crosshair_pos
    assert after[:2] == pytest.approx(before[:2]) and after[2] == pytest.approx(before[2] + 1 / scan.voxels.shape[2])
    mm = scan.affine[:3] @ [1, 2, 3, 1]
    viewer._moved({"mm": [*mm, 1]})
    assert viewer.slice.value == 4 and f"<b>{scan.voxels[1, 2, 3]} HU</b>" in viewer.place.value


def test_a_window_is_level_and_width(seen):
    viewer = Viewer()
    viewer.show(*seen)
    for name, (level, width) in WINDOWS.items():
        viewer.window.value = name
        ct = viewer.nv.volumes[0]
        assert ((ct.cal_min + ct.cal_max) / 2, ct.cal_max - ct.cal_min) == (level, width)
    viewer.view.value = "3D"
    assert viewer.nv.volumes[0].cal_min > 0, "bone alone"
    viewer.view.value = "axial"
    assert viewer.nv.volumes[0].cal_max == sum(WINDOWS["bone"]) - WINDOWS["bone"][1] / 2


def test_a_window_of_ones_own_stays_until_a_button_is_pressed(seen):
    viewer = Viewer()
    viewer.show(*seen)
    viewer.set_window(90, 160)
    viewer.show(*seen)
    ct = viewer.nv.volumes[0]
    assert viewer.window.value is None and (ct.cal_min, ct.cal_max) == (10, 170)
    viewer.window.value = "lung"
    assert (ct.cal_min, ct.cal_max) == (-1350, 150)


def test_a_box_hides_its_layer_alone_and_probability_is_hidden_at_first(seen):
    viewer = Viewer()
    viewer.show(*seen)
    opacity = {volume.name: volume.opacity for volume in viewer.nv.volumes}
    assert opacity == {
        "ct.nii": 1, "truth.nii": OPACITY["truth"], "prediction.nii": OPACITY["prediction"], "probability.nii": 0
    }  # fmt: skip
    box = next(box for box in viewer.layers.children if box.description == "truth")
    box.value = False
    assert [volume.opacity for volume in viewer.nv.volumes if volume.name == "truth.nii"] == [0]


def test_the_scan_before_is_closed_and_pictures_from_the_browser_are_not_kept(seen):
    scan, layers, finds = seen
    viewer = Viewer()
    viewer.show(scan, layers, finds)
    old, boxes = list(viewer.nv.volumes), list(viewer.layers.children)
    viewer.show(scan, {"prediction": layers["prediction"]}, finds)
    assert [volume.name for volume in viewer.nv.volumes] == ["ct.nii", "prediction.nii"]
    assert all(each.comm is None for each in (*old, *boxes)), "what is open is kept, with its scan"
    piece = {"chunk_index": 0, "total_chunks": 1, "data_type": "int16", "chunk": memoryview(bytes(8))}
    viewer.nv.volumes[0].set_state({"chunk_img_0": piece, "opacity": 0.5})
    assert viewer.nv.volumes[0].img is None and viewer.nv.volumes[0].opacity == 0.5


def test_without_finds_there_is_nothing_to_jump_to(seen):
    viewer = Viewer()
    viewer.show(seen[0], {})
    assert viewer.jumps.layout.display == "none"
    assert viewer.nv.scene.crosshair_pos == pytest.approx([0.5] * 3, abs=0.02)


def test_where_nothing_was_found_it_begins_at_the_true_tumour(seen):
    viewer = Viewer()
    viewer.show(seen[0], {"truth": seen[1]["truth"]})
    assert viewer.nv.scene.crosshair_pos == viewer.seen.share(seen[2].loc[0, ["x_mm", "y_mm", "z_mm"]].to_numpy(float))


def test_a_picture_stands_beside_the_view(seen, monkeypatch):
    scan, layers, finds = seen
    out, places = [], []
    monkeypatch.setattr(still, "display", lambda data, metadata, raw: out.append((data, metadata)))
    monkeypatch.setattr(still, "three_planes", lambda *inputs: places.append(inputs[1]) or three_planes(*inputs))
    viewer = still.show_scan(scan, layers, "Three planes.", finds)
    ((data, metadata),) = out
    assert "application/vnd.jupyter.widget-view+json" in data and metadata["image/png"]["alt"] == "Three planes."
    assert places == [pytest.approx(finds.loc[0, ["x_mm", "y_mm", "z_mm"]].to_numpy(float))]
    assert viewer.seen.share(places[0]) == viewer.nv.scene.crosshair_pos
