import gzip
import json

import numpy as np
import pytest
from pixel_formats import SIZE, loaded_set, mask_outlines, mask_set, save_image, save_json, scene, targets_of

from segkit.data.formats import build_dataset, recognize
from segkit.data.formats.geojson import GeoJson
from segkit.data.formats.parsing import text
from segkit.structures.mask_parts import unite_parts
from segkit.utils.errors import SegkitError

SQUARE = [[2, 2], [12, 2], [12, 12], [2, 12], [2, 2]]
HOLE = [[5, 5], [9, 5], [9, 9], [5, 9], [5, 5]]
ISLAND = [[6, 6], [8, 6], [8, 8], [6, 8], [6, 6]]


def feature(coordinates, kind="Polygon", name="Tumor"):
    properties = {"objectType": "annotation", **({"classification": {"name": name}} if name else {})}
    return {
        "type": "Feature",
        "id": "0",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": properties,
    }


def write(root, features, name="a.geojson", image="a.png"):
    save_image(root / image)
    save_json(root / name, {"type": "FeatureCollection", "features": features})
    return str(root)


def rectangle(x0, y0, x1, y1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_polygons_holes_and_islands(tmp_path):
    features = [
        feature([SQUARE, HOLE]),
        feature([[SQUARE, HOLE], [ISLAND]], "MultiPolygon", name="Stroma"),
        feature([[[20, 20], [60, 20], [60, -9], [20, -9], [20, 20]]], name=None),
    ]
    dataset = GeoJson(root=write(tmp_path, features))
    assert dataset.classes == ["Stroma", "Tumor", "object"]
    ring = rectangle(2, 2, 12, 12) & ~rectangle(5, 5, 9, 9)
    expected = [ring, ring | rectangle(6, 6, 8, 8), rectangle(20, 0, 32, 20)]
    sample = dataset.load(0)
    assert loaded_set(sample.targets) == mask_set(expected, [1, 0, 2])
    assert sample.targets.boxes.tolist() == [[2, 2, 12, 12], [2, 2, 12, 12], [20, 0, 32, 20]]
    assert dataset.label_counts(0) == {0: 1, 1: 1, 2: 1} and dataset.object_counts().tolist() == [3]


def test_equals_pycocotools(tmp_path):
    from pycocotools import mask as mask_util

    rng = np.random.default_rng(0)
    rings = [rng.uniform(-5, 35, (7, 2)) for _ in range(20)]
    dataset = GeoJson(root=write(tmp_path, [feature([[*ring.tolist(), ring[0].tolist()]]) for ring in rings]))
    expected = [
        mask_util.decode(mask_util.frPyObjects([r.ravel().tolist()], *SIZE))[:, :, 0].astype(bool) for r in rings
    ]
    expected = [mask for mask in expected if mask.any()]
    assert loaded_set(dataset.load(0).targets) == mask_set(expected)


def test_traced_masks_come_back(tmp_path):
    """The round trip that the writer relies on, with a tracer of the test's own."""
    dense = np.concatenate([scene(seed, overlap=True) for seed in range(12)])
    features = []
    for parts in mask_outlines(targets_of(dense).masks):
        polygons = [[[*r.tolist(), r[0].tolist()] for r in (outer, *holes)] for outer, holes in parts]
        features.append(feature(polygons, "MultiPolygon"))
    assert loaded_set(GeoJson(root=write(tmp_path, features)).load(0).targets) == mask_set(dense)


def test_holes_that_reach_the_border_or_cover_all(tmp_path):
    half = [[2, 2], [7, 2], [7, 12], [2, 12]]
    dataset = GeoJson(root=write(tmp_path, [feature([SQUARE, half]), feature([SQUARE, SQUARE])]))
    sample = dataset.load(0)
    assert sample.targets.boxes.tolist() == [[7, 2, 12, 12]] and sample.dropped == 1
    assert loaded_set(sample.targets) == mask_set([rectangle(7, 2, 12, 12)])


def test_objects_without_area_are_counted(tmp_path):
    features = [
        feature([SQUARE]),
        feature([3, 4], "Point"),
        feature([[3, 4], [5, 6]], "LineString"),
        feature([[3, 4], [5, 6]], "MultiPoint"),
        feature([[[1, 1], [2, 2], [1, 1]]]),
        feature(None) | {"geometry": None},
    ]
    dataset = GeoJson(root=write(tmp_path, features))
    total, lost = dataset.lost_objects()
    assert total == 6 and {item.reason: item.count for item in lost} == {
        "points": 2, "lines": 1, "outlines of fewer than three points": 1, "objects without a geometry": 1,
    }  # fmt: skip
    assert "features[1]" in next(item for item in lost if item.reason == "points").examples[0]


def test_types_and_nuclei(tmp_path):
    cell = feature([SQUARE], name="Cell")
    cell["properties"]["objectType"] = "cell"
    cell["nucleusGeometry"] = {"type": "Polygon", "coordinates": [HOLE]}
    old = feature([SQUARE]) | {"id": "PathDetectionObject"}
    del old["properties"]["objectType"]
    derived = feature([SQUARE])
    derived["properties"]["classification"] = {"names": ["Tumor", "Positive"]}
    root = write(tmp_path, [cell, old, derived])
    dataset = GeoJson(root=root)
    assert dataset.classes == ["Cell", "Tumor", "Tumor: Positive"]
    assert "1 cells, 1 detections, 1 annotations" in dataset.summary()
    nuclei = GeoJson(root=root, object_types=["cell"], cell_outline="nucleus")
    assert nuclei.load(0).targets.boxes.tolist() == [[5, 5, 9, 9]] and nuclei.classes == ["Cell"]
    assert "object_types does not name them: 1 detections, 1 annotations" in nuclei.summary()
    with pytest.raises(SegkitError, match=r"no type 'cells'.*'cell'"):
        GeoJson(root=root, object_types=["cells"])


@pytest.mark.parametrize("name", ["a.geojson", "a.png.geojson", "annotations/a.json", "a.geojson.gz"])
def test_names_of_files(tmp_path, name):
    image = "images/a.png" if "/" in name else "a.png"
    write(tmp_path, [feature([SQUARE])], name, image)
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    found = recognize(tmp_path)
    assert found.spec["format"] == "geojson" and len(build_dataset(found.spec).load(0).targets) == 1


def test_lists_mappings_single_files_and_classes(tmp_path):
    save_image(tmp_path / "images" / "a.png")
    save_json(tmp_path / "x.geojson", [feature([SQUARE], name="b")])
    save_json(tmp_path / "classes.json", {"pathClasses": [{"name": "c", "color": 1}, {"name": "b"}]})
    dataset = GeoJson(root=str(tmp_path), images=str(tmp_path / "images"), files={"a.png": "x.geojson"})
    assert dataset.classes == ["c", "b"] and dataset.label_counts(0) == {1: 1}
    one = GeoJson(root=str(tmp_path / "x.geojson"), images=str(tmp_path / "images" / "a.png"), classes=["b"])
    assert one.classes == ["b"] and len(one) == 1
    with pytest.raises(SegkitError, match=r"files: '../x.geojson' is not a name below"):
        GeoJson(root=str(tmp_path), images=str(tmp_path / "images"), files={"a.png": "../x.geojson"})
    with pytest.raises(SegkitError, match=r"1 of the 1 annotation files of files are missing: y.geojson"):
        GeoJson(root=str(tmp_path), images=str(tmp_path / "images"), files={"a.png": "y.geojson"})
    with pytest.raises(SegkitError, match=r"class 'b', which is not among the classes bb"):
        GeoJson(root=str(tmp_path / "x.geojson"), images=str(tmp_path / "images" / "a.png"), classes=["bb"])


def test_unpaired_files(tmp_path):
    write(tmp_path, [feature([SQUARE])])
    save_image(tmp_path / "slide1.png")
    save_json(tmp_path / "slide_1.geojson", [])
    summary = GeoJson(root=str(tmp_path)).summary()
    assert "slide1.png (nearest: slide_1.geojson)" in summary and "slide_1.geojson (nearest: slide1.png)" in summary
    (tmp_path / "a.png").unlink()
    with pytest.raises(SegkitError, match="none of 1 images has a GeoJSON file of its name"):
        GeoJson(root=str(tmp_path))
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "a.tif")
    with pytest.raises(SegkitError, match=r"both a.png and a.tif may be its image"):
        GeoJson(root=str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"type": "Feature"}, "is not GeoJSON"),
        ([1], "expected a mapping of the type 'Feature'"),
        ([feature([SQUARE], "Polygone")], "type the text 'Polygone'.*'Polygon'"),
        ([feature([[[0, None], [1, 1], [2, 2]]])], r"no point \[x, y\]"),
        ([feature([[[0, float("nan")], [1, 1], [2, 2]]])], r"no point \[x, y\]"),
        ([feature(3)], "expected lists of rings"),
        ([feature([3])], "a ring is 3"),
        ([feature([SQUARE], name=3)], "classification is 3"),
        ([feature([[[0, 0], [1e7, 0], [1e7, 1e7]]])], "at most 1e"),
    ],
)
def test_bad_files(tmp_path, content, message):
    save_image(tmp_path / "a.png")
    save_json(tmp_path / "a.geojson", content)
    with pytest.raises(SegkitError, match=rf"a.geojson.*{message}"):
        GeoJson(root=str(tmp_path)).load(0)


def test_packed_files_are_bounded(tmp_path, monkeypatch):
    write(tmp_path, [])
    (tmp_path / "a.geojson").unlink()
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(b"[" + b" " * 3_000_000 + b"]"))
    assert len(GeoJson(root=str(tmp_path)).load(0).targets) == 0
    monkeypatch.setattr(text, "MAX_UNPACKED", 2_000_000)
    with pytest.raises(SegkitError, match=r"a.geojson.gz: .*unpacks to more than"):
        GeoJson(root=str(tmp_path))
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(b"[]" * 999)[:-9])
    with pytest.raises(SegkitError, match=r"a.geojson.gz: .*(damaged|ended|more text)"):
        GeoJson(root=str(tmp_path))


def test_marks_of_the_writer(tmp_path):
    crowd, ignored, box = feature([SQUARE]), feature([HOLE]), feature([ISLAND])
    crowd["properties"]["metadata"] = {"iscrowd": "1"}
    ignored["properties"]["metadata"] = {"ignore": "1"}
    box["properties"]["metadata"] = {"box": "1"}
    targets = GeoJson(root=write(tmp_path, [crowd, ignored, box])).load(0).targets
    assert targets.labels.tolist() == [0, -1, 0] and targets.crowd.tolist() == [True, True, False]
    assert targets.has_mask.tolist() == [True, True, False] and targets.boxes[2].tolist() == [6, 6, 8, 8]


def test_united_parts():
    dense = scene(2, overlap=True)
    owners = [0, 2, 2, 0, 2, 3][: len(dense)]
    united = unite_parts(targets_of(dense[: len(owners)]).masks, owners, 5).to_dense().numpy()
    for owner in range(5):
        own = [dense[i] for i, o in enumerate(owners) if o == owner]
        assert (united[owner] == (np.any(own, 0) if own else np.zeros(SIZE, bool))).all()


def test_a_file_that_is_not_geojson_is_not_recognised(tmp_path):
    save_image(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps({"shapes": []}))
    assert GeoJson.recognize(tmp_path) is None and GeoJson.recognize(tmp_path / "a.json") is None
