"""Each planted fault is named first, with the key that addresses it."""

from functools import cache

import numpy as np
import pytest

from segkit.config.loader import load_config
from segkit.diagnosis.cell_errors import cell_errors
from segkit.diagnosis.ranking import Ranking
from segkit.diagnosis.settings import ModelSettings

from .planted_errors import Scene, merge, merge_labels, miss, overlaps, scenes, split, with_masks

SEEDS = range(2)
QUICKSTART = "segkit://quickstart.yaml"
SIZES = "model.proposal_generator.anchor_generator.sizes"


@cache
def settings(*overrides):
    return ModelSettings.from_config(load_config(QUICKSTART, overrides=list(overrides)))


def kinds(found, of, score_threshold=0.5):
    data = overlaps(found) if isinstance(found, list) else found
    return cell_errors(Ranking.of(data)[0], of, score_threshold=score_threshold)


def first(found, of, score_threshold=0.5):
    """The first finding; its changes apply to the configuration that they were made for."""
    worst = kinds(found, of, score_threshold)[0]
    if of.config is not None:
        of.config.with_overrides(worst.overrides)
    return worst


def keys(finding):
    return [change.partition("=")[0] for change in finding.overrides]


@pytest.mark.parametrize("seed", SEEDS)
def test_smallest_anchor_too_large(seed):
    rng, found = np.random.default_rng(seed), scenes(seed)
    of = settings(f"{SIZES}=[[16], [32], [64], [128], [256]]")
    for one in found:
        miss(rng, one, np.sqrt(one.objects[:, 2:].prod(axis=1)) < 16, 0.75)
    worst = first(found, of)
    assert worst.kind == "small_for_anchors"
    assert keys(worst) == [SIZES]
    assert ModelSettings.from_config(of.config.with_overrides(worst.overrides)).smallest_anchor < 11
    assert "smaller than 16 px" in worst.evidence


@pytest.mark.parametrize("seed", SEEDS)
def test_largest_anchor_too_small(seed):
    rng, found = np.random.default_rng(seed), scenes(seed, sides=(12.0, 60.0), count=20)
    of = settings(f"{SIZES}=[[8], [12], [16], [24], [32]]")
    for one in found:
        miss(rng, one, np.sqrt(one.objects[:, 2:].prod(axis=1)) > 32, 0.8)
    worst = first(found, of)
    assert (worst.kind, keys(worst)) == ("large_for_anchors", [SIZES])
    assert ModelSettings.from_config(of.config.with_overrides(worst.overrides)).largest_anchor > 40


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_low_detection_limit(seed, known):
    limit = 35
    found = scenes(seed, images=6, count=25) + scenes(seed + 50, images=6, count=75)
    for one in found:
        one.keep(np.argsort(np.argsort(-one.scores)) < limit)
    of = settings(f"model.roi_heads.detections_per_image={limit}") if known else ModelSettings()
    worst = first(found, of)
    assert worst.kind == "detection_limit"
    assert f"have {limit} detections" in worst.evidence and "75 objects" in worst.evidence
    if known:
        new = of.config.with_overrides(worst.overrides)
        assert (
            keys(worst)[0] == "model.roi_heads.detections_per_image"
            and new.model.roi_heads["detections_per_image"] == 100
        )
    else:
        assert worst.overrides == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_low_limit_with_scores_that_fall_with_size_is_not_taken_for_anchors(seed):
    found = scenes(seed, images=6, count=25) + scenes(seed + 50, images=6, count=75)
    for one in found:
        side = np.sqrt(one.boxes[:, 2:].prod(axis=1))
        one.scores = np.clip(one.scores * np.clip(side / 20, 0.3, 1), 0.06, 1)
        one.keep(np.argsort(np.argsort(-one.scores)) < 35)
    of = settings("model.roi_heads.detections_per_image=35", f"{SIZES}=[[16], [32], [64], [128], [256]]")
    assert first(found, of).kind == "detection_limit"


@pytest.mark.parametrize("seed", SEEDS)
def test_merged_detections(seed):
    rng, found = np.random.default_rng(seed), scenes(seed)
    for one in found:
        merge(rng, one, 0.5)
    worst = first(found, settings())
    assert worst.kind == "merged"
    assert "data.test_transforms" in keys(worst)[-1] and "data.train_transforms" in keys(worst)[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_merged_labels(seed, tmp_path):
    rng, found = np.random.default_rng(seed), scenes(seed, sides=(14.0, 24.0))
    for one in found:
        merge_labels(rng, one, 0.6)
    pairs = "{format: label_pairs, root: data, components: false}"
    of = settings(f"data.train={pairs}", f"data.val={pairs}", "data.classes=[round, long, odd]")
    worst = first(found, of)
    assert worst.kind == "merged_labels"
    assert worst.overrides == ("data.train.components=true", "data.val.components=true")


@pytest.mark.parametrize("seed", SEEDS)
def test_split_objects(seed):
    rng, found = np.random.default_rng(seed), scenes(seed)
    for one in found:
        split(rng, one, 0.35)
    worst = first(found, settings())
    assert worst.kind == "split" and worst.overrides == () and "NMS keeps them" in worst.advice
    small = f"{SIZES}=[[4], [5], [6], [7], [8]]"
    assert keys(first(found, settings(small))) == [SIZES]  # the objects are larger than the largest anchor


def test_parts_that_overlap_are_removed_by_nms():
    objects = np.array([[0, 0, 40, 40], [100, 0, 40, 40.0]])
    boxes = np.array([[0, 0, 18, 40], [7, 0, 18, 40], [100, 0, 40, 40.0]])  # the parts have IoU 0.44
    one = Scene(objects, np.zeros(2), boxes, np.zeros(3), np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1]))
    [parts] = kinds([one], settings())
    assert (parts.kind, parts.overrides) == ("split", ("model.roi_heads.nms_threshold=0.4",))
    assert "remove 1 of them and 0 true positives" in parts.evidence and "raises the AP" in parts.evidence


def test_parts_of_large_cells_are_no_cells_where_cells_are_large():
    """Cells of one image are as large as the halves of those of another one."""
    rng = np.random.default_rng(0)
    found = scenes(0, images=6, sides=(10.0, 12.0)) + scenes(1, images=6, sides=(22.0, 26.0))
    for one in found[6:]:
        split(rng, one, 0.3)
    counts = {one.kind: one.count for one in kinds(found, settings())}
    assert counts["split"] > 40 and counts.get("merged_labels", 0) < counts["split"] / 6


def test_confident_detections_without_an_annotation():
    found = scenes(0)
    for one in found:
        one.add(np.array([[400, 0, 20, 20], [400, 100, 90, 90.0]]), np.array([0, 0]), np.array([0.95, 0.97]))
    data = overlaps(found)
    by_kind = {one.kind: one for one in kinds(data, settings())}
    shown = [data.images[one.image_id - 1].boxes[one.detection] for one in by_kind["unannotated"].examples]
    assert sum(box[0] == 400 for box in shown) == len(found)
    assert max(box[2] for box in shown) < 30  # what is larger than all objects is none
    assert by_kind["spurious"].count >= len(found)


def test_second_detections_that_fit_poorly_are_counted():
    objects = np.array([[0, 0, 20, 20], [100, 0, 20, 20.0]])
    boxes = np.array([[0, 0, 20, 20], [12, 0, 20, 20], [100, 0, 20, 20.0]])
    one = Scene(objects, np.zeros(2), boxes, np.zeros(3), np.array([0.9, 0.95, 0.8]), np.array([0, 0, 1]))
    [second] = kinds([one], settings())
    assert (second.kind, second.count, second.overrides) == ("duplicate", 1, ()) and second.lost_ap > 0.3


def test_objects_that_no_nms_threshold_separates_are_not_blamed_on_it():
    objects = np.array([[0, 0, 20, 20], [0, 0, 20, 20], [100, 0, 20, 20.0]])
    one = Scene(objects, np.zeros(3), objects[1:], np.zeros(2), np.array([0.9, 0.8]), np.array([1, 2]))
    assert "nms" not in {found.kind for found in kinds([one], settings())}


@pytest.mark.parametrize("aligned", ["true", "false"])
@pytest.mark.parametrize("shift", [(2.0, 1.5), (-3.0, 0.0), (0.0, 5.0)])
def test_shifted_boxes(shift, aligned):
    for seed in SEEDS:
        found = scenes(seed)
        for one in found:
            one.boxes += np.array([*shift, 0, 0])
        worst = first(found, settings(f"model.roi_heads.box_head.aligned={aligned}"))
        assert worst.kind == "shifted"
        offset = [float(value) for value in worst.evidence.partition("(")[2].partition(")")[0].split(", ")]
        assert offset == pytest.approx(shift, abs=0.25)
        assert keys(worst) == (["model.roi_heads.box_head.aligned"] if aligned == "false" else [])
        assert worst.advice


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_shifted_in_their_boxes(seed):
    data = with_masks(overlaps(scenes(seed)), (2.5, -2.0))
    worst = first(data, settings("model.roi_heads.mask_head.aligned=false", "model.roi_heads.box_head.aligned=false"))
    assert (worst.kind, worst.overrides) == ("shifted", ("model.roi_heads.mask_head.aligned=true",))
    assert "boxes are not shifted" in first(data, settings()).advice


@pytest.mark.parametrize("seed", SEEDS)
def test_coarse_masks(seed):
    found = scenes(seed, sides=(60.0, 75.0), count=16)
    worst = first(with_masks(overlaps(found), (0, 0), iou_loss=0.2), settings())
    assert (worst.kind, worst.overrides) == ("coarse_masks", ("model.roi_heads.mask_head.resolution=28",))


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_swapped_class(seed, both):
    rng, found = np.random.default_rng(seed), scenes(seed)
    for one in found:
        swap = rng.random(len(one.labels)) < 0.85
        exchanged = np.array([1, 0 if both else 1, 2])[one.labels]
        one.labels = np.where(swap, exchanged, one.labels)
    of = settings("data.classes=[round, long, odd]")
    worst = first(found, of)
    assert worst.kind == "swapped" and "round" in worst.title and "long" in worst.title
    if both:
        assert worst.overrides == ('data.classes=["long", "round", "odd"]',)
    else:
        assert keys(worst) == ["data.sampler"] and "labels of round" in worst.advice


@pytest.mark.parametrize("seed", SEEDS)
def test_high_threshold_in_use(seed):
    found = scenes(seed)
    worst = first(found, settings("predict.score_threshold=0.9"), score_threshold=0.9)
    assert (worst.kind, keys(worst)) == ("below_threshold", ["predict.score_threshold"])
    assert 0.2 < float(worst.overrides[0].partition("=")[2]) < 0.75


@pytest.mark.parametrize("seed", SEEDS)
def test_high_threshold_of_the_model(seed):
    found = scenes(seed)
    for one in found:
        one.keep(one.scores > 0.7)
    worst = first(found, settings("model.roi_heads.score_threshold=0.7"), score_threshold=0.7)
    assert (worst.kind, worst.overrides) == ("below_model_threshold", ("model.roi_heads.score_threshold=0.05",))


@pytest.mark.parametrize("seed", SEEDS)
def test_objects_at_seams(seed):
    rng, found = np.random.default_rng(seed), scenes(seed, count=80)
    tiles = "{format: tiles, of: {format: label_map, root: data}, size: 320, overlap: 8}"
    of = settings(f"data.train={tiles}", "data.val={from_train: 0.2}", "data.classes=[round, long, odd]")
    for one in found:
        one.objects[:, :2] = np.where(one.objects[:, :2] < 20, 0, one.objects[:, :2])
        low, high = one.objects[:, :2].min(axis=1) < 1, (one.objects[:, :2] + one.objects[:, 2:]).max(axis=1) > 319
        miss(rng, one, low | high, 0.9)
    worst = first(found, of)
    assert worst.kind == "tile_seam"
    assert worst.overrides == ("data.train.overlap=32", "data.train.min_visibility=0.5")


@pytest.mark.parametrize("seed", SEEDS)
def test_neighbours_removed_by_nms(seed):
    found = scenes(seed, sides=(14.0, 28.0), count=25)
    for one in found:  # a crossing cell beside each second object
        crossing = one.objects[::2] + np.array([3.0, 2.0, 0, 0])
        one.objects = np.concatenate([one.objects, crossing])
        one.object_labels = np.concatenate([one.object_labels, one.object_labels[::2]])
    worst = first(found, settings())
    assert (worst.kind, keys(worst)) == ("nms", ["model.roi_heads.nms_threshold"])
    assert 0.55 <= float(worst.overrides[0].partition("=")[2]) <= 0.95


def test_without_a_fault_no_setting_is_blamed():
    for seed in SEEDS:
        found = kinds(scenes(seed), settings(f"{SIZES}=[[16], [32], [64], [128], [256]]"))
        costs = {one.kind: one.lost_ap for one in found}
        settings_blamed = {
            "small_for_anchors",
            "large_for_anchors",
            "detection_limit",
            "shifted",
            "below_model_threshold",
        }
        assert max(costs.get(kind, 0) for kind in settings_blamed) < 0.02, costs
