"""Plots of many sites, and letters of every script."""

import warnings

import matplotlib.image
import numpy as np
import pytest
from matplotlib import font_manager

from genepool_client.simulate.page import fonts, pictures

CJK = "数字"


@pytest.fixture
def no_cjk():
    """Whatever this machine has installed: only what comes with matplotlib."""
    fonts._installed.cache_clear()
    fonts._family_with.cache_clear()
    own = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    everything, font_manager.fontManager.ttflist = font_manager.fontManager.ttflist, own
    yield
    font_manager.fontManager.ttflist = everything
    fonts._installed.cache_clear()
    fonts._family_with.cache_clear()


@pytest.mark.usefixtures("no_cjk")
def test_a_letter_that_no_font_has_is_written_as_its_code_point():
    assert fonts.drawable("digits é") == "digits é"
    assert fonts.drawable(CJK) == "U+6570U+5B57"
    assert fonts.shortened("x" * 20, 5) == "xxxx…"


@pytest.mark.usefixtures("no_cjk")
def test_the_usual_font_is_asked_first_and_others_only_where_it_lacks_a_letter():
    assert fonts.families("é") == ["DejaVu Sans"]
    bold_script = "\N{MATHEMATICAL BOLD SCRIPT SMALL G}"
    with_symbols = fonts.families([bold_script, "é"])
    assert with_symbols[0] == "DejaVu Sans"
    assert len(with_symbols) == 1 + (fonts._family_with(bold_script) != "DejaVu Sans")


def test_no_letter_of_a_plot_is_missing(tmp_path):
    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that it cannot draw
        pictures.samples(f"a {CJK} ไทย", pixels, np.array([0, 0, 1, 1]), [CJK, "अ"], tmp_path / "samples.png")
        pictures.weights([CJK], ["é", CJK], np.array([[0.5, 0.25, 0.25]]), tmp_path / "weights.png")


@pytest.mark.parametrize("sites", [6, 100])
def test_a_heat_map_of_any_number_of_sites_is_no_wider_than_a_page(tmp_path, sites):
    values = np.zeros((6, sites + 1))
    for task in range(6):
        values[task, [task, sites - 1 - task, sites]] = 0.5, 0.3, 0.2
    tasks, names = [f"task-{number}" for number in range(6)], [f"animals-{number:03d}" for number in range(sites)]
    path = pictures.weights(tasks, names, values, tmp_path / "weights.png")
    height, width = matplotlib.image.imread(path).shape[:2]
    assert width < 1300
    assert height < 1300
