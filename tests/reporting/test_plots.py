"""Plots of a report."""

from xml.etree import ElementTree

import pytest

from prune_ssl.reporting import Report
from prune_ssl.reporting.plots import PLOTS, draw


@pytest.mark.parametrize("name", PLOTS)
def test_plots_are_well_formed_and_the_same_for_the_same_data(made: Report, name: str) -> None:
    drawing = draw(made.data, name)
    assert ElementTree.fromstring(drawing).tag == "{http://www.w3.org/2000/svg}svg"
    assert drawing == draw(made.data, name)
    assert "currentColor" in drawing
    assert "currentColor" not in made.plot(name)
