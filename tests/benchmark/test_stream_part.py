"""The part ``stream``: the model, each writer and the whole stream have rows."""

from __future__ import annotations

import pytest

from segkit.benchmark import stream
from segkit.benchmark.options import Options
from segkit.benchmark.postprocess import make_detections
from segkit.benchmark.report import OWN
from segkit.benchmark.run import run_parts

SMALL = {"objects": 5, "size": (64, 96), "object_sides": (8, 20), "runs": 1, "num_classes": 3}


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    monkeypatch.setattr(stream, "IMAGES", 3)
    monkeypatch.setattr(stream, "CONTENTS", 2)


def test_each_step_has_a_row_and_the_share_is_of_the_model(tiny):
    (report,) = run_parts(["stream"], Options(**SMALL, config_file=tiny, device="cpu"))
    rows = {row.work: row.values[OWN] for row in report.rows}
    model = rows["the model, an image"]
    assert (
        model > 0
        and rows["the model's detections, an image"] == 5
        and report.situation.startswith("3 images of 64 x 96, 5 objects each")
    )
    assert {f"write {name}, an image" for name in (*stream.COMMON, *stream.TABLES)} < rows.keys()
    for title in ("by default", "label map, table and GeoJSON"):
        share = rows[f"stream, {title}: share of the model"]
        assert share == pytest.approx(100 * rows[f"stream, {title}: time, an image"] / model)


def test_the_stream_writes_all_images(tmp_path):
    options = Options(**SMALL)
    inputs = stream.write_images(tmp_path / "images", options)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == list(inputs)
    assert inputs["0000.png"].read_bytes() == inputs["0002.png"].read_bytes() != inputs["0001.png"].read_bytes()
    report = stream.Report.of("stream", "", options)
    stream.measure_stream(["overlays"], "x", inputs, make_detections(options), tmp_path / "out", 0.5, report)
    assert sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir()) == list(inputs)
