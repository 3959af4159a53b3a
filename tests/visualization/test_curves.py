"""curves.png from metrics.json, also of short, resumed and interrupted runs."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from segkit.utils.errors import SegkitError
from segkit.visualization.curves import plot_curves, read_metrics, smoothed

pytestmark = pytest.mark.figures

PANEL = (330, 484)  # height and width of a panel in pixels
BLUE = (31, 119, 180)  # the colour of training curves


def panels(path):
    """Rows and columns of a picture's panels, and which of them have a curve in blue."""
    picture = np.asarray(Image.open(path).convert("RGB"))
    rows, columns = (size // panel for size, panel in zip(picture.shape, PANEL, strict=False))
    assert picture.shape[:2] == (rows * PANEL[0], columns * PANEL[1])
    blue = (abs(picture.astype(int) - BLUE) < 8).all(axis=2)
    return [
        [bool(blue[y * PANEL[0] : (y + 1) * PANEL[0], x * PANEL[1] : (x + 1) * PANEL[1]].any()) for x in range(columns)]
        for y in range(rows)
    ]


def write(path, records, tail=""):
    path.write_text("\n".join([*(json.dumps(record) for record in records), tail]), encoding="utf-8")
    return path


def record(i):
    return {"iteration": i, "loss/total": 2.0 / i, "loss/mask": 1.0 / i, "loss/cls": 0.5, "lr": 1e-4, "memory_mb": 10.0}


def test_a_run(tmp_path):
    records = [record(i) for i in range(20, 1000, 20)]
    records += [
        {"iteration": 1000, "segm/AP": 0.4, "segm/AP50": 0.7, "segm/AP75": 0.4, "bbox/AP": 0.4, "segm/AP-a": 0.4}
    ]
    out = plot_curves(write(tmp_path / "metrics.json", records), tmp_path / "curves.png")
    assert panels(out) == [[True] * 3] * 2
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["curves.png", "metrics.json"]
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize(
    ("records", "drawn"),
    [
        ([record(1)], [[True] * 3, [True, False, False]]),
        ([{"iteration": 1, "loss/total": None}, record(2)], [[True] * 3, [True, False, False]]),
        ([{"iteration": 5, "segm/AP": 0.1}], [[True]]),
        ([record(1), record(1)], [[True] * 3, [True, False, False]]),
    ],
)
def test_short_runs(tmp_path, records, drawn):
    assert panels(plot_curves(write(tmp_path / "metrics.json", records), tmp_path / "curves.png")) == drawn


def test_nan_is_not_drawn(tmp_path):
    records = [record(i) for i in range(1, 40)]
    for i, value in ((5, float("nan")), (7, None), (9, float("inf"))):
        records[i]["loss/mask"] = value
    assert panels(plot_curves(write(tmp_path / "metrics.json", records), tmp_path / "curves.png"))[0] == [True] * 3


def test_a_resumed_run_replaces_repeated_iterations(tmp_path):
    first, second = [record(i) for i in (10, 20, 30)], [{**record(i), "lr": 5.0} for i in (20, 30, 40)]
    found = read_metrics(write(tmp_path / "metrics.json", first + second))
    assert [r["iteration"] for r in found if r["iteration"] > 20] == [30, 40] and found[-1]["lr"] == 5.0
    assert [r["lr"] for r in found] == sorted(r["lr"] for r in found)


@pytest.mark.parametrize("name", ["$\\frac{", "_x", "100%", "细胞", "a\\b", "x" * 300])
def test_losses_of_any_name(tmp_path, name):
    records = [{"iteration": i, f"loss/{name}": 1.0} for i in range(1, 40)]
    assert panels(plot_curves(write(tmp_path / "metrics.json", records), tmp_path / "curves.png")) == [[True]]


def test_broken_files(tmp_path, caplog):
    path = write(tmp_path / "metrics.json", [record(1)], tail='{"iteration": 2, "lo')
    assert len(read_metrics(path)) == 1 and "cut short" in caplog.text
    path.write_text('nonsense\n{"iteration": 1}\n')
    with pytest.raises(SegkitError, match=r"metrics\.json, line 1"):
        read_metrics(path)
    with pytest.raises(SegkitError, match="there is no metrics file"):
        plot_curves(tmp_path / "no.json", tmp_path / "curves.png")
    with pytest.raises(SegkitError, match="no losses, learning rates or APs"):
        plot_curves(write(path, [{"iteration": 1, "memory_mb": 3}]), tmp_path / "curves.png")


def test_smoothing():
    assert np.allclose(smoothed(np.full(100, 3.0)), 3.0)
    line = np.arange(100.0)
    assert np.allclose(smoothed(line)[10:90], line[10:90])  # no delay
    noisy = line.copy()
    noisy[50] = np.nan
    assert np.isfinite(smoothed(noisy)).all()
    assert np.isnan(smoothed(np.full(3, np.nan))).all()


def test_validation_losses_share_the_panel_of_their_loss(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    titles, labels = [], []
    original_title, original_plot = Axes.set_title, Axes.plot
    monkeypatch.setattr(
        Axes, "set_title", lambda self, text, **k: (titles.append(text), original_title(self, text, **k))[1]
    )
    monkeypatch.setattr(
        Axes, "plot", lambda self, *a, **k: (labels.append(k.get("label")), original_plot(self, *a, **k))[1]
    )
    records = [record(i) for i in range(20, 1000, 20)]
    records += [{"iteration": 1000, "val/loss/total": 0.4, "val/loss/mask": 0.2, "val/loss/cls": 0.2}]
    plot_curves(write(tmp_path / "metrics.json", records), tmp_path / "curves.png")
    assert labels.count("validation") == 3
    assert sum(title.startswith("loss/") for title in titles) == 3 and not any("val" in title for title in titles)
    titles.clear()
    plot_curves(write(tmp_path / "metrics.json", [{"iteration": 5, "val/loss/total": 0.4}]), tmp_path / "curves.png")
    assert titles == ["loss/total"] and labels.count("validation") == 4
