"""Numbers and pages of a report."""

import json

import numpy as np
import pytest

from genepool_client.pictures.images import image_set
from genepool_client.simulate.experiment import CONTROLS, DESCENDANT, SCRATCH, SEED, StartAccuracy
from genepool_client.simulate.page import report, results
from genepool_protocol.learngene.size import Size

SIZES = (Size(2, 1), Size(4, 2))


def rows(gain=0.1):
    made = []
    for task in ("letters", "thai"):
        for draw in range(3):
            for size in SIZES:
                base = 0.5 + 0.01 * draw
                made += [StartAccuracy(task, draw, size, start, base, base + 0.05) for start in (SCRATCH, SEED)]
                made.append(StartAccuracy(task, draw, size, DESCENDANT, base + gain, base + gain))
                made += [StartAccuracy(task, draw, size, control, base - 0.1, None) for control in CONTROLS]
    return made


def test_the_table_holds_means_over_draws():
    cell = results.table(rows())["letters"][SIZES[0]][SEED]
    assert cell.before == pytest.approx(0.51)
    assert cell.after == pytest.approx(0.56)
    assert results.table(rows())["thai"][SIZES[1]][CONTROLS[0]].after is None


def test_one_task_and_one_draw_have_no_interval():
    gains = results.gains([row for row in rows() if (row.task, row.draw) == (rows()[0].task, rows()[0].draw)])
    assert {(gain.low, gain.high) for gain in gains} == {(None, None)}
    assert "no interval" in str(gains[0])


def test_gains_are_paired_so_that_a_constant_gain_has_no_spread():
    found = {(g.name, g.size, g.phase): g for g in results.gains(rows())}
    gain = found[f"descendant - {SEED}", SIZES[0], "before"]
    assert (gain.mean, gain.low, gain.high) == pytest.approx((10.0, 10.0, 10.0))
    assert found[f"descendant - {SEED}", SIZES[0], "after"].mean == pytest.approx(5.0)
    assert (f"descendant - {CONTROLS[0]}", SIZES[0], "after") not in found


def made_report():
    sites = [report.SiteReport("a<b", 10, 2, 0.5, 24, None, 1000, 9000, "0" * 64)]
    selections = [
        report.SelectionReport(task, draw, "single", [report.WeightReport("a<b", 1.0)], "because")
        for task in ("letters", "thai")
        for draw in range(3)
    ]
    proof = report.VerificationReport("verified", "model.safetensors", True, "FOLDER_TAMPERED")
    tasks = ["letters", "thai"]
    return report.SimulationReport(
        "0", "tiny-16", "now", 5, 3, 30, sites, tasks, selections, True, rows(), proof, {"x": 1.0}
    )


def test_a_report_is_a_page_with_pictures_and_a_document_with_every_number(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    images = image_set(pixels, np.arange(12) % 2, ["x", "y"])
    page = report.write(made_report(), tmp_path, [images], [images, images]).read_text()
    content = json.loads((tmp_path / "report.json").read_text())
    assert len(content["rows"]) == len(rows())
    assert len(content["gains"]) > 0
    assert page.count("data:image/png;base64,") == 1 + 2 + 1 + len(SIZES)
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert {"weights.png", "accuracy-2x1.png", "accuracy-4x2.png"} <= {path.name for path in tmp_path.iterdir()}


def test_the_heat_map_counts_draws_without_weights_as_the_seed():
    made = made_report()
    made.selections[0] = report.SelectionReport("letters", 0, "seed", [], "nothing beat it")
    matrix = report.weight_matrix(made)
    assert matrix[0] == pytest.approx([2 / 3, 1 / 3])
    assert matrix[1] == pytest.approx([1.0, 0.0])
