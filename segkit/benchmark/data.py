"""Part ``data``: loading training images, segkit against torchvision with dense masks.

Its rows on channels, windows and ``segkit dataset check`` are made in ``data_*.py``.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.datasets import CocoDetection
from torchvision.transforms import v2

from segkit.benchmark.coco_images import JSON_NAME, prepare
from segkit.benchmark.data_channels import measure_channels
from segkit.benchmark.data_check import measure_check
from segkit.benchmark.data_windows import measure_windows
from segkit.benchmark.options import Options
from segkit.benchmark.report import OWN, PEER, Report, Row
from segkit.benchmark.sides import Side, measure_work
from segkit.data.formats.coco import Coco
from segkit.data.transforms.base import Compose
from segkit.data.transforms.flips import RandomHorizontalFlip
from segkit.data.transforms.resizing import ResizeShortestEdge
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.images import read_image

DEFAULTS: dict[str, Any] = {
    "batch": 2,
    "size": (1024, 1024),
    "object_sides": (16, 60),
    "runs": 5,
    "annotations": 1_000_000,
    "slide": 20_000,
    "checked_images": 100,
}
OBJECTS = (250, 7)
SHORTER, LONGER = 800, 1333
IMAGE_ALONE = "image alone"
NOTES = [
    "one process; an image: the file (PNG) is decoded, flipped and resized to 800, its objects go from COCO's RLE, which is "
    "in memory, to boxes, labels and masks",
    "segkit: the format coco, RandomHorizontalFlip, ResizeShortestEdge; torchvision: CocoDetection's annotations, "
    "pycocotools' decoding into [N, H, W], v2's flip and resizing of image, masks and boxes; images uint8, antialiased",
    "the image alone is the floor: the same image and transforms without objects; the masks' share is what is beyond it",
    "segkit resizes masks with antialiasing and a threshold, torchvision takes the nearest pixel: they agree as well as "
    "that allows",
]


def run(options: Options) -> Report:
    """Runs the measurements of this part, which its notes describe."""
    options = options.filled(**DEFAULTS)
    assert options.size
    report = Report.of(
        "data", f"{options.batch} images of {options.size[0]} x {options.size[1]}, each by itself", options
    )
    for objects in [options.objects] if options.objects else OBJECTS:
        measure_objects(replace(options, objects=objects), report)
    many = replace(options, objects=options.objects or OBJECTS[0])
    with failure_noted(report, "a TIFF of 4 channels of 16 bits"):
        measure_channels(many, report, own_transforms())
    for what, measure in (("a window of a slide", measure_windows), ("segkit dataset check", measure_check)):
        with failure_noted(report, what):
            measure(many, report)
    report.notes += NOTES
    return report


@contextlib.contextmanager
def failure_noted(report: Report, what: str) -> Iterator[None]:
    """Context that turns an error into a note, so that the other rows are not lost."""
    try:
        yield
    except Exception as error:  # of any library that is measured
        reason = " ".join(str(error).split()) or "no message"
        report.notes.append(f"{what} is not measured: {type(error).__name__}: {reason}")


def measure_objects(options: Options, report: Report) -> None:
    """Adds rows for images with one number of objects."""
    assert options.batch and options.runs
    title = f"{options.objects} objects"
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(options, folder)
        sides = {side: make_side(options, side, folder) for side in (OWN, PEER)}
        alone = {side: make_image_side(side, folder) for side in (OWN, PEER)}
        how: dict[str, Any] = {"runs": options.runs, "device": cpu, "images": options.batch}
        made = measure_work(report, f"{title}: an image", sides, **how)
        measure_work(report, f"{title}: of it the {IMAGE_ALONE}", alone, **how)
    whole, floor = (row.values for row in report.rows[-2:])
    share = {side: (whole[side] - floor[side]) * 1000 for side in whole}
    report.rows.append(Row(f"{title}: of it the masks' share", "ms", share))
    size = {OWN: mean([own_bytes(sample.targets) for sample in made[OWN]])}
    size[PEER] = mean([target["masks"].numel() for _, target in made[PEER]])
    report.rows.append(Row(f"{title}: masks of an image", "MB", {k: v / 1e6 for k, v in size.items()}, "own/peer"))
    report.rows += agreement(title, made[OWN], made[PEER])
    report.notes.append(f"{title}: with masks at no cost segkit would be {whole[PEER] / floor[OWN]:.3g} times faster")


def make_side(options: Options, name: str, folder: Path) -> Side:
    """One side; its step loads every image that :func:`prepare` wrote."""
    if name == PEER:
        dataset = DenseCoco(folder)
        return Side(name, lambda: [dataset[i] for i in range(len(dataset))])
    coco = Coco(json=str(folder / JSON_NAME), images=str(folder))
    transforms, generator = own_transforms(), torch.Generator()
    return Side(name, lambda: [transforms(coco.load(i), generator) for i in range(len(coco))])


def make_image_side(name: str, folder: Path) -> Side:
    """A side without objects: the cost of the image alone."""
    files = [str(path) for path in sorted(folder.glob("*.png"))]
    if name == PEER:
        resize = peer_transforms()
        return Side(name, lambda: [resize(v2.functional.to_image(Image.open(file).convert("RGB"))) for file in files])
    transforms, generator = own_transforms(), torch.Generator()

    def load(file: str) -> Sample:
        image = read_image(file)
        size = (image.shape[1], image.shape[2])
        return transforms(Sample(image, Targets.empty(size), 0, file, size), generator)

    return Side(name, lambda: [load(file) for file in files])


def own_transforms() -> Compose:
    """segkit's transforms; every image is flipped, so that all runs do the same work."""
    return Compose([RandomHorizontalFlip(p=1.0), ResizeShortestEdge(sizes=[SHORTER], max_size=LONGER)])


def peer_transforms() -> v2.Compose:
    return v2.Compose([v2.RandomHorizontalFlip(1.0), v2.Resize(SHORTER, max_size=LONGER, antialias=True)])


class DenseCoco(CocoDetection):
    """COCO as torchvision's users read it, with a mask [N, H, W] of all objects."""

    def __init__(self, folder: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints timings
            super().__init__(folder, str(folder / JSON_NAME))
        self.transforms = peer_transforms()

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image = v2.functional.to_image(self._load_image(self.ids[index]))
        annotations = self._load_target(self.ids[index])
        masks = torch.stack([torch.from_numpy(self.coco.annToMask(a)) for a in annotations])
        boxes = torch.tensor([a["bbox"] for a in annotations])
        boxes[:, 2:] += boxes[:, :2]
        target = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(image.shape[1], image.shape[2])),
            "labels": torch.tensor([a["category_id"] for a in annotations]),
            "masks": tv_tensors.Mask(masks),
        }
        return self.transforms(image, target)


def own_bytes(targets: Targets) -> int:
    """Bytes of the masks of an image."""
    masks = targets.masks
    assert masks is not None
    return sum(tensor.numel() * tensor.element_size() for tensor in (masks.bits, masks.crop_boxes, masks.offsets))


def agreement(title: str, own: Sequence[Sample], peer: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> list[Row]:
    """Rows that compare the samples of both sides."""
    pixels, overlaps, boxes = [], [], []
    for sample, (image, target) in zip(own, peer, strict=True):
        pixels.append((sample.image.int() - image.int()).abs().amax().item())
        boxes.append((sample.targets.boxes - target["boxes"]).abs().amax().item())
        assert sample.targets.masks is not None
        for ours, theirs in zip(sample.targets.masks.to_dense(), target["masks"].bool(), strict=True):
            overlaps.append(((ours & theirs).sum() / (ours | theirs).sum()).item())
    return [
        Row(f"{title}: greatest difference of the images", "of 255", {OWN: max(pixels)}),
        Row(f"{title}: greatest difference of the boxes", "pixels", {OWN: max(boxes)}),
        Row(f"{title}: mean IoU with the peer's masks", "", {OWN: mean(overlaps)}),
    ]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
