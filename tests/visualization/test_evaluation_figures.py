"""Figures of an evaluation, as PNG and SVG, with any names and numbers of classes."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from segkit.visualization.evaluation_figures import draw_evaluation_figures, plot_confusion

pytestmark = pytest.mark.figures

NAMES = ("calibration", "confusion", "f1", "precision_recall")


def content(classes, detections=True):
    """What a precision_recall.json holds of K classes."""
    scores = [0.9, 0.6, 0.3] if detections else []
    curves = [
        {
            "name": name,
            "objects": 4,
            "best_threshold": 0.6 if detections else None,
            "thresholds": scores,
            "precision": [1.0, 0.9, 0.5][: len(scores)],
            "recall": [0.2, 0.7, 0.8][: len(scores)],
            "f1": [0.33, 0.79, 0.62][: len(scores)],
        }
        for name in ["all", *classes]
    ]
    rows = [[1 - r / 11 if detections else None for r in range(11)] for _ in range(2)]
    return {
        "iou_type": "segm",
        "iou_threshold": 0.5,
        "metric": "F2",
        "classes": list(classes),
        "curves": curves,
        "precision_at_recalls": {
            "iou_thresholds": [0.5, 0.75],
            "recalls": [r / 10 for r in range(11)],
            "by_class": dict.fromkeys(classes, rows),
        },
        "calibration": {
            "edges": [0, 0.5, 1],
            "counts": [0, 3] if detections else [0, 0],
            "scores": [None, 0.6] if detections else [None, None],
            "precision": [None, 0.7] if detections else [None, None],
            "error": 0.1 if detections else None,
        },
        "confusion": {"counts": np.eye(len(classes) + 1, dtype=int).tolist(), "score_threshold": 0.6},
    }


@pytest.mark.parametrize(
    ("classes", "detections"),
    [
        (["<script>alert(1)</script>", "$x_1$ & y", "細胞"], True),
        (["cell"], False),
        ([f"c{i}" for i in range(23)], True),
    ],
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_files(tmp_path, classes, detections):
    plain = json.loads(json.dumps(content(classes, detections)))
    written = draw_evaluation_figures(plain, tmp_path / "figures")
    assert sorted(path.name for path in written) == sorted(f"{n}.{s}" for n in NAMES for s in ("png", "svg"))
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(path.name for path in written)
    for path in written:
        if path.suffix == ".png":
            assert len(np.unique(np.asarray(Image.open(path).convert("L")))) > 5
            continue
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert "path" in tags and "script" not in tags
    texts = "".join(ElementTree.parse(tmp_path / "figures" / "confusion.svg").getroot().itertext())
    assert all(name[:20] in texts for name in classes)


def test_an_svg_file_is_the_same_each_time(tmp_path):
    counts = [[3, 1], [2, 0]]
    for folder in ("a", "b"):
        plot_confusion(counts, ["cell"], tmp_path / folder / "confusion")
    first, second = ((tmp_path / folder / "confusion.svg").read_bytes() for folder in ("a", "b"))
    assert first == second
    assert {"3", "1", "2"} <= set("".join(ElementTree.fromstring(first).itertext()).split())
