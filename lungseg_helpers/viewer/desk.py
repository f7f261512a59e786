"""One's own scan on the page: dropped in, checked, segmented, shown with what was found, and its mask to take along."""

from __future__ import annotations

import base64
import functools
import html
from typing import BinaryIO

import ipywidgets as widgets

from ..errors import ScanError
from ..paths import SHIPPED_WEIGHTS
from ..prediction.files import save_mask
from ..prediction.inference import STEPS, Prediction, predict_case
from ..recipe import Recipe
from ..scans.checking import CheckedCase, check_case
from ..training.devices import pick_device
from ..training.weights import load_weights
from ..unet import UNet
from .receiver import Receiver
from .uploads import UPLOAD_LIMIT, Uploads, line_of
from .widget import Viewer

CHECKING = "checking"

RED, GREEN = "var(--jp-error-color1, #b00020)", "var(--jp-success-color1, #2e7d32)"


class OwnScan:
    """The panel for a scan of one's own; ``panel`` is the widget to display.

    It belongs to one kernel, as a page does: whoever opens the page again has another one. Of the scan nothing stays
    on disk once it has been read, and nothing in memory once the kernel ends.
    """

    def __init__(self, height: int = 440) -> None:
        self.uploads = Uploads()
        self.viewer = Viewer(height)
        words = (
            f"Drop a scan here, or click to choose one: NIfTI, NRRD, MHA or a zipped DICOM series, up to "
            f"{UPLOAD_LIMIT / 1e6:.0f} MB. It goes to the computer that this page comes from, and to no other."
        )
        self.receiver = Receiver(UPLOAD_LIMIT, self._begin, self._received, self._refuse, words)
        self.bar = widgets.IntProgress(0, 0, len(STEPS) + 2, layout={"width": "100%", "display": "none"})
        self.lines, self.download = widgets.HTML(), widgets.HTML()
        self.viewer.panel.layout.display = "none"
        self.panel = widgets.VBox([self.receiver, self.bar, self.lines, self.download, self.viewer.panel])
        self.panel.add_class("lungseg-own-scan")

    def _begin(self, name: str) -> BinaryIO:
        self._say([f"receiving {name} …"])
        self.download.value, self.viewer.panel.layout.display = "", "none"
        return self.uploads.begin(name)

    def _refuse(self, name: str, line: str) -> None:
        """Say in one line why a file did not come to its end, and forget it."""
        self.uploads.clear()
        self._say([f"{name}: {line}"], RED)

    def _received(self, name: str) -> None:
        """Check, segment and show what has come; whatever goes wrong is a line on the page."""
        self.receiver.busy = True
        try:
            lines, colour = self._segment(name), GREEN
        except Exception as error:
            lines, colour = [f"{name}: {line_of(error, self.uploads)}"], RED
        finally:
            self.uploads.clear()
            self.bar.layout.display = "none"
            self.receiver.busy = False
        self._say(lines, colour)  # last: whoever reads it may send the next file, and nothing is left of this one

    def _segment(self, name: str) -> list[str]:
        """Return the lines to say of a scan that has been checked, segmented and shown."""
        self._step(name, CHECKING)
        case, notes = self.uploads.case()
        checked = check_case(case)
        problems = [self.uploads.hidden(f"{each.fault}; {each.remedy}") for each in checked.problems]
        if checked.errors:
            raise ScanError(" | ".join(problems))
        network, recipe = shipped()
        prediction = predict_case(
            network,
            recipe,
            case,
            pick_device(),
            probability=True,
            scan=checked.scan,
            report=lambda step: self._step(name, step),
        )
        self._offer(prediction)
        self._show(name, checked, prediction)
        count = len(prediction.components)
        found = f"{count} finding{'s' * (count != 1)}" if count else "nothing was found"
        size = " × ".join(map(str, checked.scan.voxels.shape))
        spacing = " × ".join(f"{mm:.2f}" for mm in checked.scan.spacing)
        return [f"{name}: {size} voxels of {spacing} mm, checked and segmented: {found}.", *notes, *problems]

    def _show(self, name: str, checked: CheckedCase, prediction: Prediction) -> None:
        layers = {"prediction": prediction.mask, "probability": prediction.probability}
        self.viewer.show(checked.scan, layers, prediction.components, name)
        self.viewer.panel.layout.display = None

    def _offer(self, prediction: Prediction) -> None:
        """Put the mask, in the scan's own grid, behind a link; its name is the same for all scans."""
        path = save_mask(prediction.mask, prediction.scan, self.uploads.folder / "mask.nii.gz")
        content = base64.b64encode(path.read_bytes()).decode()
        self.download.value = (
            f'<a class="jupyter-button" style="text-decoration: none" download="scan_pred.nii.gz" '
            f'href="data:application/gzip;base64,{content}">download the mask</a>'
        )

    def _step(self, name: str, step: str) -> None:
        steps = (CHECKING, *STEPS)
        self.bar.layout.display, self.bar.value = None, steps.index(step) + 1
        self._say([f"{name}: {step} …"])

    def _say(self, lines: list[str], colour: str = "inherit") -> None:
        text = "<br>".join(html.escape(line) for line in lines)
        self.lines.value = f'<div role="status" style="color: {colour}; line-height: 1.4">{text}</div>'


@functools.cache
def shipped() -> tuple[UNet, Recipe]:
    """Return the network that ships with the course, loaded once, and its recipe."""
    network, recipe, _ = load_weights(SHIPPED_WEIGHTS)
    return network, recipe
