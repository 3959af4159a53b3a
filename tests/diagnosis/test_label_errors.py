"""The ranked list of probable label errors, on scenes with planted ones."""

import dataclasses

import numpy as np
import pytest

from segkit.diagnosis.label_errors import KINDS, find_label_errors
from segkit.diagnosis.label_evidence import HIGH_LOSS
from segkit.structures.targets import ALL_CLASSES
from segkit.utils.errors import SegkitError

from .planted_labels import CLASSES, Scene, clean_scene, dataset, detected, ellipse, item, plant, scenes

PLANTED = [kind for kind in KINDS if kind != HIGH_LOSS]


def with_errors(seed, kinds, each=3, images=24, **more):
    """Scenes with ``each`` errors of every kind, one an image, and (kind, image id, object) of each."""
    rng, made = scenes(seed, images, **more)
    planted = []
    for i, kind in enumerate([kind for kind in kinds for _ in range(each)]):
        position = plant(rng, made[i], kind)
        gone = [k for k, one in enumerate(made[i].truth) if one is None]
        planted.append((kind, i + 1, position if position is None else position - sum(k < position for k in gone)))
    return made, planted


def hits(found, planted, *, kinds=True):
    """How many of the found errors are planted ones."""
    known = {(kind if kinds else "", image, o) for kind, image, o in planted}
    return sum((one.kind if kinds else "", one.image_id, one.object) in known for one in found)


@pytest.mark.parametrize(("seed", "iou_type"), [(0, "segm"), (1, "segm"), (0, "bbox")])
def test_planted_errors_come_first(seed, iou_type):
    made, planted = with_errors(seed, PLANTED, recall=1.0)
    found = find_label_errors(dataset(made, iou_type))
    first = found[: len(planted)]
    assert hits(first, planted, kinds=False) >= 0.8 * len(planted)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(0 <= one.score <= 1 for one in found)


@pytest.mark.parametrize("kind", PLANTED)
def test_each_kind_is_named(kind):
    made, planted = with_errors(3, [kind], each=4, images=14, recall=1.0)
    found = find_label_errors(dataset(made))[:4]
    assert hits(found, planted, kinds=False) >= 3
    assert sum(one.kind == kind for one in found) >= 3


def test_clean_annotations_have_low_scores():
    _, made = scenes(4)
    assert all(one.score < 0.75 for one in find_label_errors(dataset(made)))


def test_several_models_find_what_one_misses():
    """A model's own misses are seldom those of a second one; what both miss is suspicious."""
    rng, made = scenes(5, images=24, recall=0.93)
    planted = [("never_found", i + 1, plant(rng, made[i], "never_found")) for i in range(4)]
    one = dataset(made)
    for scene in made:
        truly_free = [cell for cell in scene.free if not any(_is_at(entry, cell) for entry in scene.truth)]
        scene.found = detected(rng, scene.true, truly_free, 0.93)
    found = [entry for entry in find_label_errors([one, dataset(made)]) if entry.kind == "never_found"]
    alone = [entry for entry in find_label_errors(one) if entry.kind == "never_found"]
    assert hits(found[:8], planted) == 4
    assert len(found) < len(alone) / 3
    assert found[0].score > alone[0].score


def _is_at(entry, cell):
    x, y, w, h = entry["bbox"]
    return abs(x + w / 2 - cell[0]) < 2 and abs(y + h / 2 - cell[1]) < 2


def test_ignored_crowd_and_unlabelled_are_never_listed():
    region = ellipse(100, 100, 60, 60)
    object_ = item(ellipse(20, 20, 10, 10), 0)
    found = [(ellipse(20, 20, 10, 10), 0, 0.95), (ellipse(100, 100, 10, 10), 0, 0.9), (ellipse(90, 70, 8, 8), 1, 0.9)]
    clean = [clean_scene(np.random.default_rng(k)) for k in range(6)]
    listed = {}
    for name, extra, unlabelled in (
        ("nothing", [], ()),
        ("region", [item(region, ALL_CLASSES, iscrowd=1)], ()),
        ("crowd", [item(region, 0, iscrowd=1), item(region, 1, iscrowd=1)], ()),
        ("unlabelled", [], (0, 1)),
    ):
        scene = Scene([], [object_, *extra], found, [])
        data = dataset(clean)
        data = dataclasses.replace(data, images=[*data.images, scene.overlaps(99, "segm", unlabelled)])
        listed[name] = [one for one in find_label_errors(data) if one.image_id == 99]
    assert len(listed["nothing"]) == 2  # the same detections are errors where nothing is ignored
    assert listed["region"] == listed["crowd"] == listed["unlabelled"] == []


def test_objects_are_positions_in_the_ground_truth():
    """Regions before an object shift its position, which the list keeps."""
    made, _ = with_errors(6, [], images=12)
    made[0].truth[0] = item(ellipse(*made[0].true[0][0]), 1 - made[0].true[0][1])
    made[0].truth.insert(0, item(ellipse(199, 199, 2, 2), ALL_CLASSES, iscrowd=1))
    [first, *_] = find_label_errors(dataset(made))
    assert (first.kind, first.image_id, first.object) == ("other_class", 1, 1)
    _, label, score = made[0].found[first.detection]
    assert label == made[0].true[0][1] and f"{score:.2f}" in first.reason
    assert CLASSES[label] in first.reason


def test_many_missing_annotations_are_listed():
    """A third of the annotations is missing: a model that finds all of them is a witness all the same."""
    rng, made = scenes(12, images=16, recall=1.0)
    count = 0
    for scene in made:
        gone = rng.random(len(scene.truth)) < 0.33
        scene.truth = [None if lost else one for one, lost in zip(scene.truth, gone, strict=True)]
        count += int(gone.sum())
    found = find_label_errors(dataset(made))
    assert all(one.kind == "missing_annotation" and one.score > 0.25 for one in found[: count // 2])


def test_a_detection_larger_than_the_objects_is_doubted():
    clean = dataset([clean_scene(np.random.default_rng(k)) for k in range(6)])
    shapes = [ellipse(20, 20, 10, 10), ellipse(20, 180, 10, 10), ellipse(120, 100, 60, 60)]
    scene = Scene([], [item(shapes[0], 0)], [(shape, 0, 0.95) for shape in shapes], [])
    data = dataclasses.replace(clean, images=[*clean.images, scene.overlaps(99, "segm")])
    scores = {one.detection: one.score for one in find_label_errors(data, min_score=0) if one.image_id == 99}
    assert scores[2] < 0.5 * scores[1]


def test_a_full_list_of_detections_is_no_evidence_of_absence():
    made, planted = with_errors(7, ["never_found"], each=2, images=12, recall=1.0)
    full = dataset(made, max_detections=min(len(scene.found) for scene in made))
    assert not [one for one in find_label_errors(full) if one.kind == "never_found"]
    assert hits(find_label_errors(dataset(made)), planted) == 2


def test_edges():
    """No objects, no detections, one image; and the limit of the list."""
    empty = dataset([Scene([], [], [], [])])
    assert find_label_errors(empty) == []
    assert find_label_errors(dataclasses.replace(empty, images=[])) == []
    only_objects = find_label_errors(dataset([Scene([], [item(ellipse(30, 30, 9, 9), 0)], [], [])]), min_score=0)
    assert [(one.kind, one.object) for one in only_objects] == [("never_found", 0)]
    assert only_objects[0].score < 0.1  # a model that finds nothing says little of the annotations
    made, _ = with_errors(8, PLANTED)
    data = dataset(made)
    assert find_label_errors(data, limit=5) == find_label_errors(data)[:5]


def test_several_models_need_the_same_data():
    _, made = scenes(9, images=3)
    data = dataset(made)
    with pytest.raises(SegkitError, match="other images"):
        find_label_errors([data, dataclasses.replace(data, images=data.images[:2])])
    with pytest.raises(SegkitError, match="classes"):
        find_label_errors([data, dataclasses.replace(data, classes=["x", "y"])])
    moved = [dataclasses.replace(image, object_boxes=image.object_boxes + 1) for image in data.images]
    with pytest.raises(SegkitError, match="image 1 has other annotations"):
        find_label_errors([data, dataclasses.replace(data, images=moved)])
    made[1].truth.pop()
    with pytest.raises(SegkitError, match="image 2 has other annotations"):
        find_label_errors([data, dataset(made)])
    with pytest.raises(SegkitError, match="found none"):
        find_label_errors([])


def test_objects_whose_loss_stays_high():
    rng, made = scenes(10, recall=1.0)
    data = dataset(made)
    losses = {image.image_id: rng.uniform(0.1, 0.3, (3, len(image.object_ids))) for image in data.images}
    losses[2][:, 4] = [2.5, 2.0, 3.0]  # high in all checkpoints
    losses[3][:, 1] = [0.2, 0.15, 3.0]  # once only
    losses[5][:, 0] = np.nan
    before = find_label_errors(data)
    found = find_label_errors(data, object_losses=losses)
    assert (found[0].kind, found[0].image_id, found[0].object) == (HIGH_LOSS, 2, 4)
    assert found[0].detection is None and "high in 3 of 3 checkpoints" in found[0].reason
    assert [(one.image_id, one.object) for one in found if one.kind == HIGH_LOSS and one.score > 0.3] == [(2, 4)]
    assert [one for one in found if one.kind != HIGH_LOSS] == before
    with pytest.raises(SegkitError, match="image 2"):
        find_label_errors(data, object_losses={**losses, 2: losses[2][:, :3]})
    with pytest.raises(SegkitError, match="different numbers of checkpoints"):
        find_label_errors(data, object_losses={**losses, 2: losses[2][:2]})


def test_an_annotation_is_listed_once_with_its_best_score():
    made, planted = with_errors(11, ["other_class"], each=3, recall=1.0)
    data = dataset(made)
    losses = {image.image_id: np.full((1, len(image.object_ids)), 0.2) for image in data.images}
    for _, image_id, o in planted:
        losses[image_id][0, o] = 5.0
    found = find_label_errors(data, object_losses=losses)
    keys = [(one.image_id, one.object) for one in found if one.object is not None]
    assert len(keys) == len(set(keys))
    assert hits(found[:3], planted) == 3
    assert all("loss is 5.00" in one.reason for one in found[:3])
    losses[planted[0][1]][0, planted[0][2]] = 0.01  # the model has no trouble with this one
    doubted = {(one.image_id, one.object): one.score for one in find_label_errors(data, object_losses=losses)}
    alone = {(one.image_id, one.object): one.score for one in find_label_errors(data)}
    first, second, _ = (planted_[1:] for planted_ in planted)
    assert doubted[first] == pytest.approx(alone[first] / 2) and doubted[second] > 0.9 * alone[second]
