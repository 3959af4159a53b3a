"""A diagnosis as a whole: degenerate data, counts, text, and a real configuration with a real results file."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from segkit.config.loader import load_config
from segkit.diagnosis.diagnose import diagnose
from segkit.diagnosis.diagnosis_table import diagnosis_table, quoted
from segkit.diagnosis.misses import cause_shares
from segkit.diagnosis.ranking import Ranking
from segkit.diagnosis.settings import ModelSettings
from segkit.diagnosis.threshold_in_use import best_threshold
from segkit.evaluation.average_precision import average_precisions, mean_ap
from segkit.evaluation.image_overlaps import DatasetOverlaps

from .planted_errors import Scene, overlaps, scenes, with_masks

SETTINGS = ModelSettings.from_config(load_config("segkit://quickstart.yaml"))


def nothing():
    return Scene(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(0))


@cache
def degenerate():
    objects, boxes, empty = scenes(0, images=1)[0], scenes(1, images=1)[0], nothing()
    objects.keep(np.zeros(len(objects.labels), bool))
    boxes.objects, boxes.object_labels = empty.objects, empty.object_labels
    many = scenes(2, images=1, count=1000, sides=(3.0, 8.0), pitch=10.0)[0]
    return {
        "no images": [],
        "nothing": [nothing(), nothing()],
        "no detections": [objects],
        "no objects": [boxes],
        "no objects in one image": [boxes, scenes(3, images=1)[0]],
        "1,000 objects": [many],
    }


@pytest.mark.parametrize("settings", [SETTINGS, ModelSettings()], ids=["config", "unknown"])
@pytest.mark.parametrize("name", degenerate())
def test_degenerate_data(name, settings):
    data = overlaps(degenerate()[name])
    for one in (data, with_masks(data, (0, 0))):
        diagnosis = diagnose(one, settings)
        assert diagnosis.ap == pytest.approx(mean_ap(average_precisions(one)) or 0.0)
        assert all(0 <= found.lost_ap <= 1 and found.count >= 0 for found in diagnosis.cells + diagnosis.tide)
        assert diagnosis_table(diagnosis)


def test_one_class_and_class_agnostic():
    found = scenes(0, images=3)
    for one in found:
        one.labels, one.object_labels = np.zeros_like(one.labels), np.zeros_like(one.object_labels)
    diagnosis = diagnose(overlaps(found, ["object"]), SETTINGS)
    assert "swapped" not in {one.kind for one in diagnosis.cells}
    assert not [one for one in diagnosis.slices if one.group == "class"]


def test_each_error_is_counted_once_and_examples_point_at_it():
    data = overlaps(scenes(5, images=8))
    table, _ = Ranking.of(data)
    diagnosis = diagnose(data, dataclasses.replace(SETTINGS, detections_per_image=1000))
    objects = [
        (example.image_id, example.object)
        for one in diagnosis.cells
        if one.kind in ("swapped", "nms", "merged", "split", "merged_labels", "missed")
        for example in one.examples
    ]
    assert len(objects) == len(set(objects)) and objects
    lost = {(int(table.object_images[i]) + 1, int(i - np.searchsorted(table.object_images, table.object_images[i])))
            for i in np.flatnonzero(~table.found)}  # fmt: skip
    assert set(objects) <= lost
    assert sum(one.share for one in diagnosis.cells) == pytest.approx(1)
    costs = [one.lost_ap for one in diagnosis.cells]
    assert costs == sorted(costs, reverse=True)


def test_ignored_regions_are_no_errors():
    data = overlaps(scenes(1, images=4))
    images = [dataclasses.replace(one, ignored_shares=np.ones(len(one.scores))) for one in data.images]
    kinds = {one.kind: one.count for one in diagnose(dataclasses.replace(data, images=images), SETTINGS).cells}
    assert not {"spurious", "unannotated", "duplicate", "swapped", "split"} & set(kinds)


def test_mended_errors_leave_no_cost():
    """Oracles together: with all objects found and no false positives, the AP is 1."""
    data = overlaps(scenes(2, images=3))
    table, _ = Ranking.of(data)
    perfect = table.mended_ap(
        recovered=~table.found, removed=table.false[0], true=np.broadcast_to(table.true[0], table.true.shape)
    )
    assert table.mended_ap(uncounted=np.ones(len(table.found))) == 1.0
    one_threshold = dataclasses.replace(table, true=table.true[:1], false=table.false[:1])
    assert one_threshold.mended_ap(recovered=~table.found, removed=table.false[0]) == pytest.approx(1.0)
    assert table.ap < perfect <= 1.0


def test_causes_share_misses_as_their_risks_say():
    # 1,000 objects each: 10 % missed without a cause, 55 % with the first one: 1 - 0.9 * (1 - r), r = 0.5.
    exposed = np.repeat([[False, True]], 1000, axis=1)
    missed = np.concatenate([np.arange(1000) < 100, np.arange(1000) < 550])
    shares = cause_shares(exposed, np.zeros(2000, bool), missed)
    expected = np.log(0.5) / (np.log(0.5) + np.log(0.9))
    assert shares[0, :1000].max() == 0 and shares[0, 1000] == pytest.approx(expected, abs=1e-3)
    assert np.allclose(shares.sum(axis=0), missed)


def test_a_cause_without_effect_explains_nothing():
    exposed = np.repeat([[False, True]], 1000, axis=1)
    missed = np.tile(np.arange(1000) < 200, 2)
    assert cause_shares(exposed, np.zeros(2000, bool), missed)[0].sum() < 0.02 * missed.sum()


def test_text_has_every_finding_and_words_of_a_shell():
    diagnosis = diagnose(overlaps(scenes(0, images=4)), SETTINGS, attributes={1: {"stain": "<script>"}})
    text = diagnosis_table(diagnosis)
    for one in diagnosis.cells + diagnosis.tide:
        assert f"{one.kind}: {one.title}" in text
        assert all(quoted(change) in text for change in one.overrides)
    assert "stain: <script>" in text
    assert quoted("a.b=[[1], [2]]") == "'a.b=[[1], [2]]'" and quoted("a=it's") == "'a=it'\\''s'"
    assert diagnosis_table(diagnose(DatasetOverlaps([], [], "segm", 100), SETTINGS)).startswith("AP 0.000")


def test_best_threshold_has_the_highest_f1():
    table, _ = Ranking.of(overlaps(scenes(4, images=4)))
    best, f1, in_use = best_threshold(table, 0.8)

    def f1_at(threshold):
        used = table.scores >= threshold
        hits, wrong = (table.true[0] & used).sum(), (table.false[0] & used).sum()
        return 2 * hits / (hits + wrong + len(table.object_labels))

    assert f1 == pytest.approx(max(f1_at(threshold) for threshold in table.scores))
    assert in_use == pytest.approx(f1_at(0.8)) and f1_at(best) == pytest.approx(f1, abs=0.01)


def test_shifted_masks_are_moved_back_by_the_oracle():
    found = scenes(6, images=6)
    straight = diagnose(overlaps(found), SETTINGS)
    for one in found:
        one.boxes += np.array([3.0, 0, 0, 0])
    moved = diagnose(overlaps(found), SETTINGS)
    assert moved.ap + moved.cells[0].lost_ap == pytest.approx(straight.ap, abs=0.03)
    assert "(+3.0, +0.0) px" in moved.cells[0].evidence or "(+2.9, +0.0) px" in moved.cells[0].evidence
