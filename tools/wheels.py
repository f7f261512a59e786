"""``make wheels``: does every pin of the locks have a wheel for each Python and platform that README promises?

Asks the index for its lists and installs nothing. Prints a table (what has to be downloaded, in MB; torch apart, whose
size depends on the build) and a line for each pin that is missing; the exit status says whether there is one.
"""

from __future__ import annotations

import sys

from index import BOOK_LOCK, LOCK, PLATFORMS, environment, fitting, of_lock, requirements, tags

PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def main() -> int:
    """Print the table and what is missing; return 1 where something is."""
    found = list(of_lock(requirements(LOCK, BOOK_LOCK)))
    missing: list[str] = []
    rows = ["| | " + " | ".join(f"Python {python}" for python in PYTHONS) + " |", "|---" * (len(PYTHONS) + 1) + "|"]
    for platform in PLATFORMS:
        cells = []
        for python in PYTHONS:
            values, wanted, total, pins = environment(python, platform), tags(python, platform), 0, 0
            for pin, wheels in found:
                if pin.marker is not None and not pin.marker.evaluate(values):
                    continue
                wheel = fitting(wheels, wanted)
                if wheel is None:
                    missing.append(f"{pin.name} {pin.specifier} has no wheel for Python {python} on {platform}")
                    continue
                pins += 1
                total += wheel.size if pin.name != "torch" else 0
            cells.append(f"{pins} wheels, {total / 1e6:.0f} MB")
        rows.append(f"| {platform} | " + " | ".join(cells) + " |")
    print(*rows, *missing, sep="\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
