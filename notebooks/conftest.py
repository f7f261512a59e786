"""How notebooks are tested: every output is compared with the committed one, but for stderr."""

import pytest


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave stderr out of the comparison: progress bars and notices differ from run to run."""
    if collector.__class__.__name__ == "IPyNbFile":
        collector.skip_compare += ("stderr",)
