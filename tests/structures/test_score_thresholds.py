import pytest
import torch

from segkit.structures import Detections, ScoreThresholds
from segkit.structures.score_thresholds import above_threshold, resolve_threshold, saved_thresholds
from segkit.utils.errors import SegkitError

BEST = ScoreThresholds(0.4, {"b": 0.7}, "F1", 0.5, "segm", 12)
CLASSES = ["a", "b"]


def found(scores, labels):
    boxes = torch.tensor([[0.0, 0, 4, 4]]).repeat(len(scores), 1)
    return Detections(boxes, torch.tensor(scores), torch.tensor(labels), None, (8, 8))


def test_each_class_has_its_own_threshold():
    detections = found([0.9, 0.7, 0.69, 0.4, 0.39], [1, 1, 1, 0, 0])
    each = resolve_threshold("best", BEST, CLASSES, "x")
    assert above_threshold(detections, each).scores.tolist() == pytest.approx([0.9, 0.7, 0.4])
    one = resolve_threshold("best_overall", BEST, CLASSES, "x")
    assert one == 0.4 and len(above_threshold(detections, one)) == 4
    assert len(above_threshold(detections, 0.0)) == 5 and len(above_threshold(detections[:0], each)) == 0


def test_a_detection_of_exactly_the_threshold_is_kept():
    scores = torch.rand(200)
    best = ScoreThresholds(0.5, {"a": float(scores.double()[7])}, "F1", 0.5, "segm")
    kept = above_threshold(found(scores.tolist(), [0] * 200), resolve_threshold("best", best, ["a"], "x"))
    assert len(kept) == int((scores >= scores[7]).sum()) and float(scores[7]) in kept.scores.tolist()


def test_plain_values_and_back():
    assert ScoreThresholds.of_dict(BEST.to_dict()) == BEST == saved_thresholds({"score_thresholds": BEST.to_dict()})
    assert saved_thresholds({}) is None and saved_thresholds({"score_thresholds": None}) is None


def test_without_thresholds():
    assert resolve_threshold(0.3, None, CLASSES, "x") == 0.3
    with pytest.raises(
        SegkitError, match=r"m.pth has no best score thresholds.*PrecisionRecall.*segkit eval"
    ) as caught:
        resolve_threshold("best", None, CLASSES, "m.pth")
    assert caught.value.key == "predict.score_threshold"
