"""How notebooks are tested: every output is compared with the committed one, but for stderr."""

import pytest

import lungseg_helpers  # noqa: F401  (what it sets in the environment, the kernels inherit)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave stderr out of the comparison: progress bars and notices differ from run to run."""
    if collector.__class__.__name__ == "IPyNbFile":
        collector.skip_compare += ("stderr",)
