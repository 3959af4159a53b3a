"""Round trips of the writers of label maps, mask folders and GeoJSON, and the losses that they count."""

import importlib.util
import json
import sys
import types
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from pixel_formats import SIZE, loaded_set, mask_outlines, mask_set, save_image, scene, targets_of

from segkit.data.formats import build_dataset, recognize
from segkit.data.writers import WritableImage, geojson_features
from segkit.data.writers.label_maps import CROWDS, CUT, HIDDEN, RENAMED, RENUMBERED, UNMASKED, paint_label_map
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures import InstanceMasks, Sample, Targets

EXCLUSIVE = ("label_map", "label_pairs")
FORMATS = (*EXCLUSIVE, "mask_folder", "geojson")


@pytest.fixture(autouse=True)
def outlines(monkeypatch):
    """The tracer of the tests where segkit's is not there."""
    name = "segkit.structures.outline_polygons"
    if importlib.util.find_spec(name) is None:
        module = types.ModuleType(name)
        module.mask_outlines = mask_outlines
        monkeypatch.setitem(sys.modules, name, module)


def write(tmp_path, format, images, classes=("cell", "dirt"), ids=(1, 2), **options):
    """Writes (name, targets, split) with one image file for all; returns the folder and the losses."""
    source = tmp_path / "source.png"
    save_image(source)
    output = tmp_path / "out"
    output.mkdir()
    spec = {"format": format, **options}
    writer = DATASET_WRITER_REGISTRY.build(
        spec, output=output, classes=list(classes), category_ids=list(ids), path="to"
    )
    with writer:
        for i, (name, targets, split) in enumerate(images):
            writer.write(WritableImage(name, i + 1, SIZE, targets, split, source))
    return output, dict(writer.losses)


def opened(folder, format):
    """The written data, recognised by their content."""
    if format == "label_map":
        return build_dataset({"format": "label_map", "root": str(folder)})
    found = recognize(folder)
    assert found.spec["format"] == format and not found.splits
    return build_dataset(found.spec)


@pytest.mark.parametrize("format", FORMATS)
def test_round_trip(tmp_path, format):
    images, expected = [], {}
    for seed in range(8):
        dense = scene(seed, overlap=format not in EXCLUSIVE)
        labels = [i % 2 for i in range(len(dense))] if seed % 2 else [1] * len(dense)
        images.append((f"sub/{seed}.png", targets_of(dense, labels), "all"))
        expected[str(seed)] = mask_set(dense, labels)
    images.append(("none.png", Targets.empty(SIZE), "all"))
    expected["none"] = []
    output, losses = write(tmp_path, format, images)
    dataset = opened(output, format)
    assert dataset.classes == (["class1", "class2"] if format == "label_map" else ["cell", "dirt"])
    assert losses == ({RENAMED: 2} if format == "label_map" else {})
    loaded = {}
    for index in range(len(dataset)):
        sample = dataset.load(index)
        stem = Path(sample.file_name).parent.name if format == "label_map" else Path(sample.file_name).stem
        loaded[stem] = loaded_set(sample.targets)
        assert sum(dataset.label_counts(index).values()) == len(sample.targets)
    assert loaded == expected


@pytest.mark.parametrize("format", FORMATS)
def test_splits_and_equal_names(tmp_path, format):
    dense = scene(1)
    images = [
        (name, targets_of(dense), split) for split in ("train", "val") for name in ("a/x.png", "b/x.png", "X.png")
    ]
    output, _ = write(tmp_path, format, images, classes=["object"], ids=[1])
    folders = [str(output / split) for split in ("train", "val")]
    for folder in folders:
        dataset = opened(Path(folder), format)
        assert len(dataset) == 3 and all(len(dataset.load(i).targets) == len(dense) for i in range(3))
    if format != "label_map":
        assert list(recognize(output).splits) == ["train", "val"]


@pytest.mark.parametrize("format", EXCLUSIVE)
def test_overlaps_within_a_class_are_counted(tmp_path, format):
    dense = np.zeros((4, *SIZE), bool)
    dense[0, 2:10, 2:10] = dense[1, 6:8, 6:20] = dense[2, 2:10, 2:10] = True
    dense[3, 3:5, 3:5] = True
    output, losses = write(tmp_path, format, [("a.png", targets_of(dense, [0, 0, 0, 1]), "all")])
    # The larger ones give way to the smaller one; of two equal ones the later is on top.
    assert losses.pop(CUT) == 1 and losses.pop(HIDDEN) == 1 and set(losses) <= {RENAMED}
    dataset = opened(output, format)
    expected = mask_set([dense[2] & ~dense[1], dense[1], dense[3]], [0, 0, 1])
    assert loaded_set(dataset.load(0).targets) == expected


@pytest.mark.parametrize("format", FORMATS)
def test_crowds_boxes_and_ids(tmp_path, format):
    dense = scene(2)[:2]
    known = targets_of(dense, [0, 1])
    box = Targets(torch.tensor([[1.5, 2, 8, 9]]), torch.tensor([1]))
    crowd, ignored = targets_of(scene(3)[:1], [0]), targets_of(scene(4)[:1], [-1])
    crowd.crowd[:] = ignored.crowd[:] = True
    targets = Targets.cat([known, box, crowd, ignored])
    output, losses = write(tmp_path, format, [("a.png", targets, "all")], ids=(0, 7))
    loaded = opened(output, format).load(0).targets
    assert losses[RENUMBERED] == 2
    if format != "geojson":
        assert losses[CROWDS] == 2 and losses[UNMASKED] == 1
        assert loaded_set(loaded) == mask_set(dense, [0, 1])
    else:
        assert loaded.labels.tolist() == [0, 1, 1, 0, -1] and loaded.crowd.tolist() == [False] * 3 + [True] * 2
        assert loaded.has_mask.tolist() == [True, True, False, True, True]
        assert loaded.boxes[2].tolist() == [1.5, 2, 8, 9] and set(losses) == {RENUMBERED}


@pytest.mark.parametrize("format", ["label_pairs", "mask_folder"])
def test_class_names_as_folders(tmp_path, format):
    dense = scene(2)[:3]
    output, losses = write(
        tmp_path, format, [("a.png", targets_of(dense, [0, 1, 2]), "all")], ["a/b", "a:b", "c"], [1, 2, 3]
    )
    assert losses == {"class names with characters that a folder's name cannot have": 2}
    dataset = opened(output, format)
    assert dataset.classes == ["a_b", "a_b_", "c"] and loaded_set(dataset.load(0).targets) == mask_set(dense, [0, 1, 2])
    (tmp_path / "second").mkdir()
    assert write(tmp_path / "second", format, [], ["b", "a"])[1] == {"classes whose order becomes alphabetical": 2}
    (tmp_path / "third").mkdir()
    assert write(tmp_path / "third", format, [], ["cell"], [1])[1] == {"class names, which the files do not hold": 1}


def test_features_are_those_of_qupath(tmp_path):
    dense = scene(0)
    output, _ = write(tmp_path, "geojson", [("a.png", targets_of(dense), "all")], object_type="detection")
    content = json.loads((output / "annotations" / "a.geojson").read_text())
    assert content["type"] == "FeatureCollection" and len(content["features"]) == len(dense)
    assert len({uuid.UUID(feature["id"]) for feature in content["features"]}) == len(dense)
    for feature in content["features"]:
        assert feature["properties"]["objectType"] == "detection"
        assert feature["properties"]["classification"]["name"] == "cell"
        polygons = feature["geometry"]["coordinates"]
        polygons = [polygons] if feature["geometry"]["type"] == "Polygon" else polygons
        assert all(ring[0] == ring[-1] and len(ring) >= 5 for polygon in polygons for ring in polygon)
    assert json.loads((output / "classes.json").read_text())["pathClasses"][1]["name"] == "dirt"
    assert all(-(1 << 31) <= geojson_features.packed_color(geojson_features.class_color(i)) < 0 for i in range(20))


def test_ids_are_deterministic(tmp_path):
    ids = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        output, _ = write(tmp_path / name, "geojson", [("a.png", targets_of(scene(0)), "train")])
        content = json.loads((output / "train" / "annotations" / "a.geojson").read_text())
        ids.append([feature["id"] for feature in content["features"]])
    assert ids[0] == ids[1]


@pytest.mark.parametrize("format", FORMATS)
def test_pixels_without_a_file(tmp_path, format):
    """An image that comes from no file is written as PNG."""
    output = tmp_path / "out"
    output.mkdir()
    spec = {"format": format}
    image = torch.randint(0, 256, (3, *SIZE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    targets = targets_of(scene(1))
    with DATASET_WRITER_REGISTRY.build(spec, output=output, classes=["a"], category_ids=[1], path="to") as writer:
        sample = Sample(image, targets, 1, "a", SIZE)
        writer.write(WritableImage("a", 1, SIZE, targets, "all", sample=sample))
    assert opened(output, format).load(0).image.equal(image)


def test_many_objects_need_32_bits(tmp_path):
    labels = np.arange(1, 70_001, dtype=np.uint32).reshape(200, 350)
    painted = paint_label_map(InstanceMasks.from_label_map(labels), {})
    assert painted.dtype == np.uint32 and (painted == labels).all()
