"""TIDE's kinds equal hotcoco's on random data, and those of a case worked by hand."""

import contextlib
import io

import numpy as np
import pytest
from hotcoco import COCO, COCOeval

from segkit.diagnosis.tide import tide_errors

from .planted_errors import CLASSES, Scene, overlaps, scenes

NAMES = {
    "Cls": "classification",
    "Loc": "localisation",
    "Both": "both",
    "Dupe": "duplicate",
    "Bkg": "background",
    "Miss": "missed",
}


def by_hotcoco(found):
    truth, results = [], []
    images = [{"id": i + 1, "height": one.size[0], "width": one.size[1]} for i, one in enumerate(found)]
    for i, one in enumerate(found, start=1):
        for box, label in zip(one.objects.tolist(), one.object_labels.tolist(), strict=True):
            item = {"image_id": i, "category_id": label + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            truth.append({**item, "id": len(truth) + 1})
        for box, label, score in zip(one.boxes.tolist(), one.labels.tolist(), one.scores.tolist(), strict=True):
            results.append({"image_id": i, "category_id": label + 1, "bbox": box, "score": score})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO({"images": images, "annotations": truth, "categories": categories})
        evaluation = COCOeval(ground_truth, ground_truth.load_res(results), "bbox")
        evaluation.evaluate()
        return evaluation.tide_errors()


def random_scene(rng):
    """Boxes of all classes that overlap at random, with IoUs that are often equal.

    Scores differ: among equal ones of two classes, hotcoco orders detections of which the class is mended otherwise.
    """
    objects, boxes = (
        np.concatenate([rng.integers(0, 60, (count, 2)), rng.integers(6, 30, (count, 2))], axis=1).astype(float)
        for count in (9, 30)
    )
    boxes[:9] = objects + rng.integers(-3, 4, (9, 4))
    scores = rng.random(30)
    return Scene(objects, rng.integers(0, 3, 9), boxes, rng.integers(0, 3, 30), scores, np.full(30, -1))


@pytest.mark.parametrize("seed", range(6))
def test_equals_hotcoco(seed):
    rng = np.random.default_rng(seed)
    found = [random_scene(rng) for _ in range(8)] if seed % 2 else scenes(seed, images=4)
    expected = by_hotcoco(found)
    findings = {one.kind: one for one in tide_errors(overlaps(found))}
    assert {one.kind: one.lost_ap for one in findings.values()} == {
        name: pytest.approx(expected["delta_ap"][key], abs=1e-12) for key, name in NAMES.items()
    }
    assert {kind: one.count for kind, one in findings.items()} == {
        name: expected["counts"][key] for key, name in NAMES.items()
    }


def test_by_hand():
    # Objects of class a: one found twice, one with a poor detection, one of which the class is wrong, one missed.
    objects = np.array([[0, 0, 20, 20], [50, 0, 20, 20], [100, 0, 20, 20], [150, 0, 20, 20.0]])
    boxes = np.array(
        [[0, 0, 20, 20], [0, 1, 20, 20], [60, 0, 20, 20], [100, 0, 20, 20], [250, 0, 20, 20], [160, 0, 20, 20.0]]
    )
    one = Scene(
        objects,
        np.array([0, 0, 0, 0]),
        boxes,
        np.array([0, 0, 0, 1, 0, 1]),
        np.array([0.9, 0.8, 0.7, 0.6, 0.95, 0.5]),
        np.full(6, -1),
    )
    findings = {found.kind: found for found in tide_errors(overlaps([one], ["a", "b"]))}
    assert {kind: found.count for kind, found in findings.items()} == {
        "localisation": 1, "classification": 1, "duplicate": 1, "background": 1, "both": 1, "missed": 1
    }  # fmt: skip
    # Of class b there are no objects. AP of a: precision 1/2 up to recall 1/4, that is at 26 of 101 recalls.
    base = 26 * 0.5 / 101
    # The poor detection is right: ranks 0 1 0 1, precision 1/2 up to recall 1/2.
    assert findings["localisation"].lost_ap == pytest.approx(51 * 0.5 / 101 - base)
    # The detection of class b is of class a: ranks 0 1 0 0 1; 2/5 up to recall 1/2, 1/2 up to 1/4.
    assert findings["classification"].lost_ap == pytest.approx((26 * 0.5 + 25 * 0.4) / 101 - base)
    assert findings["background"].lost_ap == pytest.approx(26 * 1.0 / 101 - base)
    assert findings["duplicate"].lost_ap == findings["both"].lost_ap == 0
    # Three objects: recall 1/3.
    assert findings["missed"].lost_ap == pytest.approx(34 * 0.5 / 101 - base)
    [missed], [poor] = findings["missed"].examples, findings["localisation"].examples
    assert (missed.object, missed.detection) == (3, None) and (poor.object, poor.detection) == (1, 2)
    assert sum(found.share for found in findings.values()) == pytest.approx(1)


def test_no_objects_or_no_detections():
    nothing = Scene(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(0))
    assert {(one.count, one.lost_ap) for one in tide_errors(overlaps([nothing]))} == {(0, 0.0)}
    assert {(one.count, one.lost_ap) for one in tide_errors(overlaps([]))} == {(0, 0.0)}
    alone = Scene(np.array([[0, 0, 9, 9.0]]), np.zeros(1), np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(0))
    findings = {one.kind: one for one in tide_errors(overlaps([alone]))}
    assert (findings["missed"].count, findings["missed"].lost_ap) == (1, 1.0)
