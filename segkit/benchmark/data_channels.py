"""Rows of the part ``data``: TIFFs of 4 channels of 16 bits beside PNGs of RGB."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from segkit.benchmark.coco_images import JSON_NAME, prepare
from segkit.benchmark.options import Options
from segkit.benchmark.report import OWN, Report, Row
from segkit.benchmark.sides import Side, measure_work
from segkit.data.formats.coco import Coco
from segkit.data.transforms.base import Compose
from segkit.structures.sample import Sample
from segkit.utils.images import read_image

PNG, TIFF = "segkit, PNG of 8-bit RGB", "segkit, TIFF of 4 channels of 16 bits"
CHANNELS = 4
ALL_CHANNELS: dict[str, Any] = {"channels": "all"}
NOTE = (
    "TIFFs of 4 channels of 16 bits: the same images, as many objects; uncompressed, since a PNG's compression suits drawn "
    "images better than those of a camera"
)


def measure_channels(options: Options, report: Report, transforms: Compose) -> None:
    """Adds the time of loading an image from each kind of file, and the ratio of the two.

    Args:
        options: images, objects, turns.
        report: gets the rows.
        transforms: of both.
    """
    assert options.batch and options.runs
    with tempfile.TemporaryDirectory() as name:
        folders = Path(name) / "png", Path(name) / "tiff"
        for folder in folders:
            folder.mkdir()
        prepare(options, folders[0])
        write_tiffs(*folders)
        generator = torch.Generator()
        png, tiff = (Coco(json=str(folder / JSON_NAME), images=str(folder)) for folder in folders)
        tiff.reader = dataclasses.replace(tiff.reader, **ALL_CHANNELS)

        def load(dataset: Coco) -> list[Sample]:
            return [transforms(dataset.load(i), generator) for i in range(len(dataset))]

        sides = {PNG: Side(PNG, lambda: load(png)), TIFF: Side(TIFF, lambda: load(tiff))}
        work = f"{options.objects} objects: an image of another kind"
        how: dict[str, Any] = {"runs": options.runs, "device": torch.device("cpu"), "images": options.batch}
        made = measure_work(report, work, sides, **how)
    seconds = report.rows.pop().values
    assert made[TIFF][0].image.shape[0] == CHANNELS, made[TIFF][0].image.shape
    report.rows += [
        Row(f"{options.objects} objects: an image as TIFF of 4 channels of 16 bits", "s", {OWN: seconds[TIFF]}),
        Row(f"{options.objects} objects: its time by that of the PNG", "times", {OWN: seconds[TIFF] / seconds[PNG]}),
    ]
    report.notes.append(NOTE)


def write_tiffs(source: Path, target: Path) -> None:
    """Writes each PNG of a COCO data set as a TIFF of 4 channels of 16 bits.

    The COCO file of the new folder names the TIFFs.
    """
    content = json.loads((source / JSON_NAME).read_text(encoding="utf-8"))
    for image in content["images"]:
        rgb = read_image(source / image["file_name"]).numpy().astype(np.uint16)
        planes = np.concatenate([rgb, rgb[:1]]) * 200 + np.arange(CHANNELS, dtype=np.uint16)[:, None, None]
        image["file_name"] = Path(image["file_name"]).with_suffix(".tif").name
        pixels = np.ascontiguousarray(planes.transpose(1, 2, 0))
        tifffile.imwrite(target / image["file_name"], pixels, photometric="minisblack", planarconfig="contig")
    (target / JSON_NAME).write_text(json.dumps(content), encoding="utf-8")
