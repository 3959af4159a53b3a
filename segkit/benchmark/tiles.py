"""Part ``tiles``: merging of tile detections beside supervision and sahi, and label maps."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from segkit.benchmark import tile_peers
from segkit.benchmark.measure import PeakMemory, load_kernels
from segkit.benchmark.options import Options
from segkit.benchmark.peak_memory import figures_of
from segkit.benchmark.report import OWN, Report, Row
from segkit.benchmark.scene import make_targets
from segkit.benchmark.sides import Side, installed, measure_work
from segkit.inference.predicted_image import PredictedImage
from segkit.inference.tiles import merge_tiles
from segkit.results.label_map import LabelMapResultWriter
from segkit.results.part_files import PartFiles
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.tiling import tile_windows

DEFAULTS: dict[str, Any] = {"objects": 20_000, "size": (10_000, 10_000), "object_sides": (16, 60), "runs": 1}
TILE, OVERLAP = 1024, 128
CLASSES = 4
PEER_OBJECTS, PEER_SIZE, PEER_TILE, PEER_OVERLAP = 100, (1024, 1024), 512, 64
CPU = torch.device("cpu")
NOTES = [
    "ready detections of tiles of a scene of ellipses, which may overlap; merged to detections of the image",
    "label map: exclusive, uint32, by score, in a compressed TIFF",
    "memory: highest resident memory of a separate process beyond that with the detections of the tiles",
    "supervision: masks of the image's size, Detections.merge, with_nmm; sahi: polygons, GreedyNMMPostprocess (IOS 0.5)",
    "equal to the untiled: objects whose mask is that of the scene, bit for bit",
]

TileScene = tuple[list[Detections], torch.Tensor, InstanceMasks]


def run(options: Options) -> Report:
    """Runs the measurements of this part, which its notes describe."""
    options = options.filled(**DEFAULTS)
    assert options.objects and options.size and options.runs
    report = Report.of("tiles", f"tiles of {TILE} x {TILE}, overlap {OVERLAP}", options, peer=tile_peers.SUPERVISION)
    title = f"{options.objects:,} objects in {options.size[0]:,} x {options.size[1]:,}"
    tiles, windows, truth = make_tiles(options, TILE, OVERLAP)
    merge = Side(OWN, lambda: merge_tiles(tiles, windows, truth.image_size))
    found = measure_work(report, f"merge, {title}", {OWN: merge}, runs=options.runs, device=CPU)[OWN]
    with tempfile.TemporaryDirectory() as folder:
        write = Side(OWN, lambda: write_labels(folder, found))
        measure_work(report, f"write the label map, {title}", {OWN: write}, runs=options.runs, device=CPU)
    report.rows.append(Row(f"equal to the untiled, {title}", "%", {OWN: equal_share(found.to_rle(), truth)}))
    if options.memory:
        peak = figures_of(__name__, json.dumps(asdict(options)))
        if isinstance(peak, str):
            report.notes.append(f"no memory of merging and writing: {peak}")
        else:
            report.rows.append(Row(f"memory of merging and writing, {title}", "MB", {OWN: peak[0] / 1e6}))
    measure_peers(options, report)
    dense = options.objects * options.size[0] * options.size[1] / 1e9
    report.notes += [*NOTES, f"masks of the image's size would take {dense:,.0f} GB for {title}"]
    return report


def measure_peers(options: Options, report: Report) -> None:
    """Adds rows on a scene that the peers can finish."""
    assert options.objects and options.size and options.runs
    size = (min(options.size[0], PEER_SIZE[0]), min(options.size[1], PEER_SIZE[1]))
    options = replace(options, objects=min(options.objects, PEER_OBJECTS), size=size)
    tiles, windows, truth = make_tiles(options, PEER_TILE, PEER_OVERLAP)
    steps: dict[str, Callable[[], Any]] = {OWN: lambda: merge_tiles(tiles, windows, size).to_rle()}
    for name in installed(tile_peers.MODULES, report):
        steps[name] = tile_peers.STEPS[name](tiles, windows, size)
    title = f"{options.objects} objects in {size[0]} x {size[1]}"
    sides = {name: Side(name, step) for name, step in steps.items()}
    made = measure_work(report, f"merge to RLE, {title}", sides, runs=options.runs or 1, device=CPU)
    report.rows.append(Row(f"objects, {title}", "", {name: float(len(rles)) for name, rles in made.items()}))
    equal = {name: equal_share(rles, truth) for name, rles in made.items()}
    report.rows.append(Row(f"equal to the untiled, {title}", "%", equal))


def make_tiles(options: Options, tile: int, overlap: int) -> TileScene:
    """Detections of each tile of a scene, the windows of the tiles, and the masks of the scene."""
    assert options.objects and options.size
    generator = torch.Generator().manual_seed(0)
    targets = make_targets(options.objects, options.size, CLASSES, generator, options.object_sides)
    scores, masks = torch.rand(options.objects, generator=generator), targets.masks
    assert masks is not None
    windows, boxes = tile_windows(options.size, (tile, tile), overlap), masks.crop_boxes
    tiles = []
    for x0, y0, x1, y1 in windows.tolist():
        meets = (boxes[:, :2] < torch.tensor([x1, y1])).all(1) & (boxes[:, 2:] > torch.tensor([x0, y0])).all(1)
        index = meets.nonzero()[:, 0]
        cut = masks[index].crop(x0, y0, x1, y1)
        seen = (cut.crop_boxes[:, 2] > 0).nonzero()[:, 0]  # an ellipse leaves the corners of its box free
        index = index[seen]
        tiles.append(Detections.from_masks(cut[seen], scores[index], targets.labels[index]))
    return tiles, windows, masks


def write_labels(folder: str, found: Detections) -> None:
    """Writes the exclusive label map of detections, as ``segkit predict`` does."""
    names = [f"class{label}" for label in range(CLASSES)]
    parts = PartFiles(Path(folder) / "parts")
    writer = LabelMapResultWriter(Path(folder), names, list(range(1, CLASSES + 1)), parts, dtype="uint32")
    writer.add(PredictedImage("scene", "scene", found, torch.zeros(3, 0, 0, dtype=torch.uint8)))


def equal_share(rles: list[dict[str, Any]], truth: InstanceMasks) -> float:
    """Objects of the scene that were found bit for bit, in %."""
    found = {rle["counts"] for rle in rles}
    return 100 * sum(rle["counts"] in found for rle in truth.to_rle()) / max(1, len(truth))


def main(options: str) -> None:
    """Prints the memory of merging and writing in bytes; runs in the separate process."""
    load_kernels(CPU)
    values = json.loads(options)
    tiles, windows, truth = make_tiles(Options(**{**values, "size": tuple(values["size"])}), TILE, OVERLAP)
    size = truth.image_size
    del truth
    memory = PeakMemory(CPU)
    memory.reset()
    with tempfile.TemporaryDirectory() as folder:
        write_labels(folder, merge_tiles(tiles, windows, size))
    print(memory.read())


if __name__ == "__main__":
    main(sys.argv[1])
