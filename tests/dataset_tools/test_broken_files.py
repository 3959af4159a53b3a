"""Data sets with broken annotation files: all of them are listed, and the rest is checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from segkit.data.writers.base import WritableImage
from segkit.dataset_tools.check import check_dataset, coco_file
from segkit.dataset_tools.check.coco_classes import INVALID_ID
from segkit.dataset_tools.check.coco_file import ImageList
from segkit.dataset_tools.source import open_data
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.utils.errors import SegkitError
from segkit.utils.images import write_image

ROOT = Path(__file__).parents[2]
IMAGES = 6
PARSED = {"labelme": "[0-5].json", "voc": "[0-5].xml", "yolo": "[0-5].txt", "geojson": "[0-5].geojson"}  # on opening
PIXELS = {
    "label_map": "class1.tif",
    "mask_folder": "masks/**/*.png",
    "label_pairs": "[0-5]*.tif",
}  # read with their image


def write(tmp_path, format):
    """Six images of one split in a format."""
    output = tmp_path / "written"
    output.mkdir()
    with DATASET_WRITER_REGISTRY.build({"format": format}, output=output, classes=["cell"], category_ids=[1]) as writer:
        for i in range(IMAGES):
            dense = torch.zeros(1, 24, 32, dtype=torch.bool)
            dense[0, 4:12, 5 + i : 16] = True
            masks = InstanceMasks.from_dense(dense)
            image = torch.from_numpy(np.random.default_rng(i).integers(0, 256, (3, 24, 32), dtype=np.uint8))
            one = Sample(image, Targets(masks.boxes(), torch.tensor([0]), masks), i + 1, f"{i}.png", (24, 32), None)
            file = tmp_path / f"{i}.png"
            write_image(file, image.permute(1, 2, 0).numpy())
            writer.write(WritableImage(file.name, i + 1, one.size, one.targets, "train", file, one))
    return output


def test_a_format_of_each_kind():
    assert {*PARSED, *PIXELS, "coco"} == set(DATASET_WRITER_REGISTRY.names()), "say where the new format's files are"


@pytest.mark.parametrize("format", [*PARSED, *PIXELS])
def test_every_broken_annotation_file_is_listed(tmp_path, format):
    output = write(tmp_path, format)
    files = sorted(output.rglob({**PARSED, **PIXELS}[format]))
    assert len(files) == IMAGES
    for file in files[2:5]:
        file.write_bytes(b"{1 x <")
    report = check_dataset(output, format=format, workers=0)
    listed = report.of_kind("unreadable_annotations")
    assert len(listed) == 3 and sum(fault.severity == "error" for fault in report.faults) == 3
    for fault, file in zip(sorted(listed, key=lambda fault: fault.place), files[2:5], strict=True):
        assert str(file) in f"{fault.place} {fault.message}"
    kept = IMAGES - (3 if format in PARSED else 0)
    assert sum(split.images for split in report.splits.values()) == kept
    with pytest.raises(SegkitError, match=files[2].name):  # elsewhere the first one is an error
        for data in open_data(output, format).splits.values():
            [data.load(i) for i in range(len(data))]


def test_every_missing_image_is_listed(tmp_path):
    output = write(tmp_path, "voc")
    images = sorted(file for file in output.rglob("*.png") if file.stem in "012345" and "Images" in str(file))
    for file in images[:2]:
        file.unlink()
    report = check_dataset(output, format="voc", workers=0)
    assert [fault.kind for fault in report.faults if fault.severity == "error"] == ["missing_image"] * 2
    assert sum(split.images for split in report.splits.values()) == IMAGES - 2


def test_entries_of_one_xml_file(tmp_path):
    (tmp_path / "images").mkdir()
    entries = []
    for i in range(4):
        write_image(tmp_path / f"images/{i}.png", np.full((8, 8, 3), i, np.uint8))
        points = "1,1;5,1;5,5" if i % 2 else "1,1;x,1"
        shape = f'<polygon label="cell" points="{points}"/>'
        entries.append(f'<image id="{i}" name="{i}.png" width="8" height="8">\n{shape}\n</image>')
    entries.append('<image id="9" name="9.png" width="8" height="8"></image>')
    (tmp_path / "annotations.xml").write_text("<annotations>\n" + "\n".join(entries) + "\n</annotations>")
    report = check_dataset(tmp_path, format="cvat", workers=0)
    entries = [fault.place.rpartition("/")[2] for fault in report.of_kind("unreadable_annotations")]
    assert entries == ["annotations.xml:2", "annotations.xml:8"]
    assert [fault.image for fault in report.of_kind("missing_image")] == ["9.png"]
    assert report.splits["all"].images == 2


def test_entries_of_a_panoptic_file(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "panoptic_a").mkdir()
    images, annotations = [], []
    for i in range(4):
        write_image(tmp_path / f"images/{i}.png", np.full((8, 8, 3), i, np.uint8))
        codes = np.zeros((8, 8, 3), np.uint8)
        codes[2:5, 2:6, 0] = 7
        write_image(tmp_path / f"panoptic_a/{i}.png", codes)
        images.append({"id": i, "file_name": f"{i}.png", "width": 8, "height": 8})
        segment = {"id": 7, "category_id": 1 if i % 2 else 99}
        annotations.append({"image_id": i, "file_name": f"{i}.png", "segments_info": [segment]})
    (tmp_path / "images/3.png").unlink()
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell", "isthing": 1}]}
    (tmp_path / "panoptic_a.json").write_text(json.dumps(content))
    spec = {"format": "coco_panoptic", "json": f"{tmp_path}/panoptic_a.json", "images": f"{tmp_path}/images"}
    report = check_dataset(spec, workers=0)
    entries = [fault.place.rpartition(": ")[2] for fault in report.of_kind("unreadable_annotations")]
    assert entries == ["annotations[0]", "annotations[2]"]
    assert [fault.image for fault in report.of_kind("missing_image")] == ["3.png"]
    assert report.splits["all"].images == 1


@pytest.mark.parametrize("format", [name for name in [*PARSED, *PIXELS] if name != "voc"])
def test_a_broken_first_file_does_not_hide_the_format(tmp_path, format):
    output = write(tmp_path, format)
    sorted(output.rglob({**PARSED, **PIXELS}[format]))[0].write_bytes(b"{1 x <")
    report = check_dataset(output, workers=0)
    assert report.format == format and not report.ok


def test_a_configuration_stands_for_its_data(tmp_path):
    data = write(tmp_path, "voc")
    (tmp_path / "config.yaml").write_text(
        f"_BASE_: '{ROOT}/configs/quickstart.yaml'\n"
        f"data: {{train: {{format: voc, root: '{data}'}}, val: {{format: auto, path: '{data}', split: train}}}}\n"
    )
    report = check_dataset(tmp_path / "config.yaml", workers=0)
    assert {name: split.images for name, split in report.splits.items()} == {"train": IMAGES, "val": IMAGES}
    assert len(report.of_kind("image_in_two_splits")) == IMAGES


def test_a_file_that_breaks_off_has_no_unknown_categories(annotated):
    annotated.specs()
    file = annotated.root / "train.json"
    text = file.read_text()
    file.write_text(text[: text.index('"categories"')])
    report = check_dataset(file, workers=0)
    assert len(report.of_kind("unreadable_annotations")) == 1 and not report.of_kind("unknown_category")


@pytest.mark.parametrize("format", [*PARSED, *PIXELS])
def test_a_mended_copy_in_each_format(tmp_path, format):
    output = write(tmp_path, format)
    images = [Path(file) for file in next(iter(open_data(output, format).splits.values())).image_files()]
    sorted(output.rglob({**PARSED, **PIXELS}[format]))[2].write_bytes(b"{1 x <")
    images[4].write_bytes(images[3].read_bytes())
    images[5].write_bytes(b"no image")
    before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
    report = check_dataset(output, format=format, workers=0, fix=tmp_path / "mended")
    assert {file: file.read_bytes() for file in output.rglob("*") if file.is_file()} == before
    assert report.fix.done == {"unreadable_annotations": 1, "unreadable_image": 1, "duplicate_image": 1}
    assert report.fix.format == format and report.fix.images == report.fix.objects == 3
    again = check_dataset(tmp_path / "mended", workers=0)
    assert again.format == format and not again.faults and again.splits["train"].objects == 3


class IdSet(set):
    """Ids that may not be looked at one by one, which for each annotation of a large file would take hours."""

    def __iter__(self):
        raise AssertionError("iterated")


def test_ids_of_invalid_images_are_looked_up(annotated, tmp_path, monkeypatch):
    ids = IdSet({INVALID_ID})
    monkeypatch.setattr(coco_file, "ImageList", lambda: ImageList(known_ids=ids))
    annotated.images[2].pop("width")
    annotated.annotations[4]["image_id"] = "x"
    file = Path(annotated.specs()["train"]["json"])
    _, faults = coco_file.read_coco(file, annotated.root / "images", "train", tmp_path)
    assert [fault.kind for fault in faults] == ["invalid_image_entry", "unknown_image"] and 3 in ids


def test_a_package_that_is_missing_is_no_damaged_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "roifile", None)
    monkeypatch.setitem(sys.modules, "nd2", None)
    for name in "ab":
        write_image(tmp_path / f"rois/{name}.png", np.zeros((8, 8), np.uint8))
        (tmp_path / f"rois/{name}.roi").write_bytes(b"Iout")
    report = check_dataset({"format": "imagej_rois", "root": str(tmp_path / "rois")}, workers=0)
    (fault,) = report.of_kind("missing_package")  # once: all files need it
    assert "pip install 'segkit[imagej]'" in fault.message and not report.of_kind("unreadable_annotations")
    (tmp_path / "a.nd2").write_bytes(b"x")
    content = {
        "images": [{"id": 1, "file_name": "a.nd2", "width": 8, "height": 8}],
        "annotations": [],
        "categories": [],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    spec = {"format": "coco", "json": str(tmp_path / "a.json"), "images": str(tmp_path)}
    (fault,) = check_dataset(spec, workers=0).of_kind("missing_package")
    assert fault.image == "a.nd2" and "pip install nd2" in fault.message
