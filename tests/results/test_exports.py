"""Result writers for annotation tools, read again by segkit's formats and by the tools' own readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segkit.evaluation
import segkit.visualization
from segkit.data.formats.build import build_dataset
from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results import PartFiles
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.painting import LabelPainter, by_score
from segkit.utils.errors import SegkitError

CLASSES, IDS = ["round <b>", 'long "ä", x'], [3, 7]
SIZE = (40, 60)


def scene():
    """A ring, two parts, one pixel in a corner, a full row at the border, and a mask that others cover."""
    dense = np.zeros((5, *SIZE), bool)
    dense[0, 3:12, 3:12] = True
    dense[0, 6:9, 6:9] = False
    dense[1, 20:24, 5:9] = dense[1, 30:33, 40:44] = True
    dense[2, 39, 59] = True
    dense[3, 0, :] = True
    dense[4, 4:11, 20:33] = np.tri(7, 13, 4, dtype=bool)
    return dense


def image_of(tmp_path, dense=None, name="cells.png", *, masks=True):
    dense = scene() if dense is None else dense
    file = tmp_path / name
    pixels = np.random.default_rng(0).integers(0, 255, (*dense.shape[1:], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    n = len(dense)
    scores, labels = torch.linspace(0.9, 0.5, n), torch.arange(n) % 2
    if masks:
        found = Detections.from_masks(InstanceMasks.from_dense(torch.from_numpy(dense)), scores, labels)
    else:
        boxes = torch.tensor([[1.0, 2, 5.5, 8]] * n).reshape(-1, 4)
        found = Detections(boxes, scores, labels, None, dense.shape[1:])
    return PredictedImage(name, Path(name).stem, found, torch.from_numpy(pixels).permute(2, 0, 1), file=file)


def write(tmp_path, spec, *images, output="out", **runtime):
    output = tmp_path / output
    output.mkdir()
    spec = {"name": spec} if isinstance(spec, str) else spec
    common = {"output": output, "classes": CLASSES, "category_ids": IDS, "parts": PartFiles(output / ".parts")}
    writer = RESULT_WRITER_REGISTRY.build(spec, **common, **runtime)
    for image in images:
        writer.add(image)
    paths = writer.close()
    assert not list(output.rglob("*.tmp*")) and all(path.exists() for path in paths)
    return output


def read_again(spec):
    """Masks, dense, and labels of the only image of a data set."""
    data = build_dataset(spec)
    targets = data.load(0).targets
    return targets.masks.to_dense().numpy(), targets.labels.numpy(), data.classes


def same_masks(found, expected):
    """Whether both hold the same masks, in any order."""
    return sorted(mask.tobytes() for mask in found) == sorted(mask.tobytes() for mask in expected)


def test_geojson_holds_each_mask_exactly(tmp_path):
    image = image_of(tmp_path)
    output = write(tmp_path, "geojson", image)
    content = json.loads((output / "geojson" / "cells.geojson").read_text(encoding="utf-8"))
    features = content["features"]
    assert [f["properties"]["name"] for f in features] == ["1", "2", "3", "4", "5"]
    assert [f["properties"]["measurements"]["score"] for f in features] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    assert {f["properties"]["objectType"] for f in features} == {"detection"}
    assert [f["geometry"]["type"] for f in features[:2]] == ["Polygon", "MultiPolygon"]
    listed = json.loads((output / "geojson" / "classes.json").read_text(encoding="utf-8"))["pathClasses"]
    assert [one["name"] for one in listed] == CLASSES
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    (data / "annotations").mkdir()
    (output / "geojson" / "cells.geojson").rename(data / "annotations" / "cells.geojson")
    image.file.rename(data / "images" / "cells.png")
    masks, labels, classes = read_again({"format": "geojson", "root": str(data)})
    assert same_masks(masks, scene())
    assert sorted(classes[k] for k in labels) == sorted(CLASSES[k] for k in (0, 1, 0, 1, 0))


@pytest.mark.parametrize("spec", ["yolo", {"name": "yolo", "images": "link"}])
def test_yolo_is_trained_on_again(tmp_path, spec):
    output = write(tmp_path, spec, image_of(tmp_path))
    masks, labels, classes = read_again(
        {"format": "yolo", "data": str(output / "yolo" / "data.yaml"), "split": "train"}
    )
    assert same_masks(masks, scene()) and classes == CLASSES and labels.tolist() == [0, 1, 0, 1, 0]


def test_yolo_counts_what_it_cannot_hold(tmp_path, caplog):
    write(tmp_path, {"name": "yolo", "bridges": False, "images": "none"}, image_of(tmp_path))
    assert "1: objects whose holes are filled" in caplog.text and "1: objects reduced to their largest" in caplog.text


@pytest.mark.parametrize("masks", [False, True])
def test_labelme_is_trained_on_again(tmp_path, masks):
    output = write(tmp_path, {"name": "labelme", "masks": masks}, image_of(tmp_path))
    content = json.loads((output / "labelme" / "cells.json").read_text(encoding="utf-8"))
    assert content["imagePath"] == "cells.png" and (output / "labelme" / "cells.png").is_file()
    assert content["shapes"][0]["description"] == "id 1, score 0.9000"
    found, _, classes = read_again({"format": "labelme", "root": str(output / "labelme")})
    assert same_masks(found, scene()) and set(classes) == set(CLASSES)


def test_labelme_names_the_image_where_it_is(tmp_path):
    output = write(tmp_path, {"name": "labelme", "images": "none"}, image_of(tmp_path))
    content = json.loads((output / "labelme" / "cells.json").read_text(encoding="utf-8"))
    assert (output / "labelme" / content["imagePath"]).resolve() == (tmp_path / "cells.png").resolve()


def test_imagej_rois(tmp_path):
    roifile = pytest.importorskip("roifile")
    image = image_of(tmp_path)
    output = write(tmp_path, "imagej", image)
    file = output / "imagej" / "cells.zip"
    rois = roifile.ImagejRoi.fromfile(file)
    assert [roi.name for roi in rois] == [f"{name}_{i:05d}" for i, name in enumerate(
        ("round _b_", "long _ä_, x", "round _b_", "long _ä_, x", "round _b_"), 1
    )]  # fmt: skip
    assert [roi.composite for roi in rois] == [True, True, False, False, False]
    data = tmp_path / "data"
    data.mkdir()
    file.rename(data / "cells.zip")
    image.file.rename(data / "cells.png")
    masks, _, _ = read_again({"format": "imagej_rois", "root": str(data)})
    assert same_masks(masks, scene())


def test_imagej_positions_of_a_time_series(tmp_path):
    roifile = pytest.importorskip("roifile")
    image = image_of(tmp_path)
    image.series, image.frame, image.track_ids = "movie", 4, torch.tensor([9, 8, 7, 6, 5])
    rois = roifile.ImagejRoi.fromfile(write(tmp_path, "imagej", image) / "imagej" / "cells.zip")
    assert {roi.t_position for roi in rois} == {5} and rois[0].name.endswith("_00009")


def test_coco_results_are_those_of_pycocotools(tmp_path):
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO

    images = [image_of(tmp_path), image_of(tmp_path, scene()[:0], "none.png"), image_of(tmp_path, name="other.png")]
    output = write(tmp_path, "coco_results", *images, image_ids={"other.png": 40})
    listed = json.loads((output / "coco_images.json").read_text())
    assert [(one["file_name"], one["id"]) for one in listed] == [("cells.png", 41), ("none.png", 42), ("other.png", 40)]
    truth = COCO()
    truth.dataset = {"images": listed, "categories": [{"id": k, "name": n} for k, n in zip(IDS, CLASSES, strict=True)]}
    truth.createIndex()
    found = truth.loadRes(str(output / "coco_results.json"))
    assert len(found.anns) == 10 and {one["category_id"] for one in found.anns.values()} == set(IDS)
    own = [coco_mask.decode(one["segmentation"]).astype(bool) for one in found.imgToAnns[40]]
    assert np.array_equal(np.stack(own), scene())


@pytest.mark.parametrize("size", [SIZE, (700, 1100)])
def test_ome_zarr_labels(tmp_path, size):
    zarr = pytest.importorskip("zarr")
    dense = np.zeros((5, *size), bool)
    dense[:, : SIZE[0], : SIZE[1]] = scene()
    dense[4, 100:600, 900:1099] = True
    image = image_of(tmp_path, dense)
    output = write(tmp_path, {"name": "ome_zarr", "pixel_size": [0.25, 0.5]}, image)
    group = zarr.open_group(str(output / "ome_zarr" / "cells.zarr"), mode="r")
    labels = group["labels"]["objects"]
    painted = LabelPainter(image.detections.masks, np.arange(1, 6), order=by_score(image.detections.scores)).paint()
    (multiscale,) = labels.attrs["multiscales"]
    assert group["labels"].attrs["labels"] == ["objects"]
    for i, level in enumerate(multiscale["datasets"]):
        assert np.array_equal(labels[level["path"]][:], painted[:: 2**i, :: 2**i])
        assert level["coordinateTransformations"] == [{"type": "scale", "scale": [0.5 * 2**i, 0.25 * 2**i]}]
    assert [one["score"] for one in labels.attrs["image-label"]["properties"]] == pytest.approx(
        [0.9, 0.8, 0.7, 0.6, 0.5]
    )
    assert max(labels[multiscale["datasets"][-1]["path"]].shape) <= 256


def test_a_store_that_fails_leaves_the_old_one(tmp_path):
    pytest.importorskip("zarr")
    output = write(tmp_path, "ome_zarr", image_of(tmp_path))
    common = {"output": output, "classes": CLASSES, "category_ids": IDS, "parts": PartFiles(output / ".parts")}
    writer = RESULT_WRITER_REGISTRY.build({"name": "ome_zarr"}, **common)
    with pytest.raises(SegkitError, match="masks"):
        writer.add(image_of(tmp_path, masks=False))
    assert [path.name for path in (output / "ome_zarr").iterdir()] == ["cells.zarr"]


@pytest.mark.parametrize("name", ["geojson", "yolo", "labelme", "imagej", "coco_results", "ome_zarr"])
@pytest.mark.parametrize("case", ["none", "pixel", "full", "boxes"])
def test_edge_cases(tmp_path, name, case):
    for package, of in (("roifile", "imagej"), ("zarr", "ome_zarr")):
        if name == of:
            pytest.importorskip(package)
    dense = {"none": np.zeros((0, *SIZE), bool), "pixel": scene()[2:3], "full": np.ones((1, *SIZE), bool)}
    image = image_of(tmp_path, dense.get(case, scene()), masks=case != "boxes")
    if name == "ome_zarr" and case == "boxes":
        pytest.skip("label images need masks")
    write(tmp_path, name, image)


def test_boxes_without_masks_are_rectangles(tmp_path):
    image = image_of(tmp_path, masks=False)
    feature = json.loads((write(tmp_path, "geojson", image) / "geojson" / "cells.geojson").read_text())["features"][0]
    assert feature["geometry"]["coordinates"][0][:3] == [[1.0, 2.0], [5.5, 2.0], [5.5, 8.0]]
    output = write(tmp_path, "labelme", image, output="labels")
    shape = json.loads((output / "labelme" / "cells.json").read_text())["shapes"][0]
    assert shape["shape_type"] == "rectangle" and shape["points"] == [[1.0, 2.0], [5.5, 8.0]]


@pytest.mark.parametrize("name", ["yolo", "labelme"])
def test_the_written_data_is_recognised(tmp_path, name):
    """``segkit dataset check`` finds the format of the folder by itself."""
    output = write(tmp_path, name, image_of(tmp_path))
    assert len(build_dataset({"format": "auto", "path": str(output / name)})) == 1


def test_removed_names_say_what_to_use():
    with pytest.raises(SegkitError, match=r"segkit\.results\.OverlayResultWriter"):
        _ = segkit.visualization.OverlayWriter
    with pytest.raises(SegkitError, match=r"segkit\.results\.CocoResultWriter"):
        _ = segkit.evaluation.PredictionsWriter
    assert not hasattr(segkit.visualization, "Nothing")
