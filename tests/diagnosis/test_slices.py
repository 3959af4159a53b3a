"""Slices equal COCO's AP by size and AP of subsets; attributes come from folders and tables."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from segkit.data.formats.image_folder import ImageFolder
from segkit.diagnosis.attributes import image_attributes
from segkit.diagnosis.ranking import Ranking
from segkit.diagnosis.slices import slices, touches_another
from segkit.evaluation.average_precision import average_precisions, mean_ap
from segkit.evaluation.greedy_matching import match_detections
from segkit.utils.errors import SegkitError

from .planted_errors import CLASSES, overlaps, scenes


def sliced(data, **options):
    found = slices(data, Ranking.of(data)[1], **options)
    return {(one.group, one.name): one for one in found}


def test_size_and_class_equal_coco():
    data = overlaps(scenes(0, images=5, sides=(20.0, 70.0), count=12))
    found = sliced(data)
    for name, area_range in {"small": (0, 32**2), "medium": (32**2, 96**2)}.items():
        aps = average_precisions(data, area_range=area_range)
        assert found["size", name].metrics["AP"] == mean_ap(aps)
        assert found["size", name].metrics["AP50"] == mean_ap(aps[:1])
    aps = average_precisions(data)
    assert [found["class", name].metrics["AP"] for name in CLASSES] == [mean_ap(aps[:, k]) for k in range(3)]
    thirds = [one for (group, _), one in found.items() if group == "size of this data"]
    total = sum(len(image.object_labels) for image in data.images)
    assert sum(one.objects for one in thirds) == total and max(one.objects for one in thirds) <= total / 3 + 1


def test_large_without_objects_has_no_metrics():
    large = sliced(overlaps(scenes(0, images=2)))["size", "large"]
    assert (large.objects, large.images) == (0, 0) and set(large.metrics.values()) == {None}


def test_parts_of_neighbours():
    data = overlaps(scenes(1, images=5, count=60))
    found = sliced(data)
    touching, alone = (found["neighbours", name] for name in ("touching", "alone"))
    assert touching.objects + alone.objects == sum(len(image.object_labels) for image in data.images)
    # The detections of the touching objects removed by hand, with the objects.
    images, matches = [], []
    for image in data.images:
        kept = ~touches_another(image.object_boxes)
        pairs = image.overlaps
        best = np.full(len(image.scores), -1)
        for detection in range(len(image.scores)):
            own = np.flatnonzero(pairs.detections == detection)
            best[detection] = pairs.objects[own[np.argmax(pairs.ious[own])]] if len(own) else -1
        one = match_detections(image, ignored_objects=~kept)
        counts = (one.objects >= 0) | (best < 0) | kept[best]
        images.append(image)
        matches.append(dataclasses.replace(one, ignored=one.ignored | ~counts))
    expected = average_precisions(dataclasses.replace(data, images=images), matches=matches)
    assert alone.metrics["AP"] == mean_ap(expected)


def test_touching_equals_all_pairs():
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 200, (60, 2)), rng.uniform(3, 20, (60, 2))], axis=1)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    near = (low[:, None] <= high[None] + 1).all(axis=2)
    near = near & near.T & ~np.eye(60, dtype=bool)
    assert touches_another(boxes).tolist() == near.any(axis=1).tolist()
    assert touches_another(np.zeros((0, 4))).shape == (0,)


def test_images_by_density_and_attribute():
    data = overlaps(scenes(2, images=3, count=10) + scenes(3, images=3, count=40))
    stains = {i: {"stain": "HE" if i < 3 else "DAPI"} for i in range(1, 6)}  # image 6 has none
    found = sliced(data, attributes=stains)
    for name, ids in {"HE": {1, 2}, "DAPI": {3, 4, 5}, "(none)": {6}}.items():
        part = dataclasses.replace(data, images=[image for image in data.images if image.image_id in ids])
        assert found["stain", name].metrics["AP"] == pytest.approx(mean_ap(average_precisions(part)))
        assert found["stain", name].images == len(ids)
    density = [one for (group, _), one in found.items() if group == "objects per image"]
    assert [one.images for one in density] == [3, 3]


def test_rare_values_are_one_part():
    data = overlaps(scenes(4, images=25, count=3))
    found = sliced(data, attributes={i: {"slide": f"s{i}"} for i in range(1, 26)})
    names = [name for group, name in found if group == "slide"]
    assert len(names) == 21 and found["slide", "5 other values"].images == 5


def folder(tmp_path):
    names = ("a/one.png", "a/two.png", "b/one.png", "b/four.png")
    for name in names:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / name)
    listed = [{"file_name": name, "id": i + 1, "height": 8, "width": 8} for i, name in enumerate(names)]
    (tmp_path / "ids.json").write_text(json.dumps(listed))
    return ImageFolder(root=str(tmp_path / "images"), id_map=str(tmp_path / "ids.json"))


def test_attributes_of_folders_and_of_a_table(tmp_path):
    table = tmp_path / "stains.csv"
    table.write_text('image,stain,"site, ward"\na/one.png,HE,3\ntwo,DAPI,"4, 5"\n', encoding="utf-8-sig")
    attributes = list(image_attributes(folder(tmp_path), table).values())
    assert attributes == [
        {"folder": "a", "stain": "HE", "site, ward": "3"},
        {"folder": "a", "stain": "DAPI", "site, ward": "4, 5"},
        {"folder": "b"},
        {"folder": "b"},
    ]


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("image,stain\nthree,HE\n", ["row 2", "'three'", "no image"]),
        ("image,stain\none,HE\n", ["'one'", "several images"]),
        ("image,stain\ntwo,HE\na/two.png,HE\n", ["row 3", "twice"]),
        ("image,stain\ntwo\n", ["row 2", "1 cells", "2"]),
        ("image\ntwo\n", ["first line"]),
        ("", ["first line"]),
    ],
)
def test_mistakes_in_tables(tmp_path, text, facts):
    table = tmp_path / "stains.csv"
    table.write_text(text)
    with pytest.raises(SegkitError) as error:
        image_attributes(folder(tmp_path), table)
    assert all(fact in str(error.value) for fact in [*facts, "stains.csv"])
