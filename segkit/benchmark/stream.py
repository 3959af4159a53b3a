"""Part ``stream``: reading and writing of many images beside the time of the model."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segkit.benchmark.infer import shape_weights
from segkit.benchmark.measure import load_kernels, median, seconds_of
from segkit.benchmark.models import build_random, chosen_device
from segkit.benchmark.options import Options
from segkit.benchmark.postprocess import CLASSES, make_detections
from segkit.benchmark.report import OWN, Report, Row
from segkit.benchmark.scene import make_batch
from segkit.config.loader import load_config
from segkit.engine.amp import autocast
from segkit.inference.predict_files import predict_files
from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.part_files import PartFiles
from segkit.structures.detections import Detections
from segkit.utils.images import ImageReader, write_image

DEFAULTS: dict[str, Any] = {"objects": 100, "size": (1024, 1024), "object_sides": (16, 60), "runs": 3}
IMAGES = 200
CONTENTS = 4  # images with their own pixels; the others are copies of them
COMMON = ("coco", "overlays")  # what segkit predict writes by default
TABLES = ("label_map", "table", "geojson")
NOTES = [
    "the stream: predict_files with fixed detections in place of the network, so it holds reading and writing alone, with "
    "nothing overlapped by the model; CPU time is that of all threads",
    "model: a forward of the configuration's model with random weights, measured in this run; its detections are in the table",
    "share of the model: what the stream takes beside the network, where nothing overlaps; less if there are cores to spare",
    "writers: add and close with detections whose masks are not pasted yet, so each pays for its own masks",
]


def run(options: Options) -> Report:
    """Runs the measurements of this part, which its notes describe."""
    options = options.filled(**DEFAULTS)
    assert options.size and options.objects
    title = f"{IMAGES} images of {options.size[0]} x {options.size[1]}, {options.objects} objects each"
    report = Report.of("stream", f"{title}; {options.config_file}, {options.precision}", options)
    load_kernels(torch.device("cpu"))
    model = model_seconds(options, report)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = write_images(folder / "images", options)
        found = make_detections(options)
        measure_reading(inputs, report)
        for writer in (*COMMON, *TABLES):
            measure_writer(writer, inputs, found, folder / "one", report)
        for names, rows in ((COMMON, "by default"), (TABLES, "label map, table and GeoJSON")):
            measure_stream(names, rows, inputs, found, folder / rows, model, report)
    report.notes += NOTES
    return report


def model_seconds(options: Options, report: Report) -> float:
    """Seconds of the network for one image; adds rows on them and on its detections."""
    assert options.size and options.runs
    device = chosen_device(options)
    one = replace(options, batch=1)
    model = build_random(load_config(one.config_file, one.overrides), one.num_classes).to(device)
    shape_weights(model, False, one)
    model.eval()
    images = [image.to(device) for image in make_batch(1, 1, options.size, 1).images]

    def step() -> list[Detections]:
        with torch.inference_mode(), autocast(options.precision, device):
            return model.predict(images)

    found = float(len(step()[0]))
    times = [seconds_of(step, device) for _ in range(options.runs)]
    report.details["model_seconds"] = times
    report.rows.append(Row("the model, an image", "ms", {OWN: 1000 * median(times)}))
    report.rows.append(Row("the model's detections, an image", "", {OWN: found}))
    return median(times)


def write_images(folder: Path, options: Options) -> dict[str, Path]:
    """PNG files of the selected size, by their names."""
    assert options.size
    folder.mkdir()
    contents: list[Tensor] = make_batch(CONTENTS, 1, options.size, 1).images
    inputs = {f"{i:04}.png": folder / f"{i:04}.png" for i in range(IMAGES)}
    for i, path in enumerate(inputs.values()):
        if i < CONTENTS:
            write_image(path, contents[i].permute(1, 2, 0).numpy())
        else:
            path.write_bytes((folder / f"{i % CONTENTS:04}.png").read_bytes())
    return inputs


def measure_reading(inputs: dict[str, Path], report: Report) -> None:
    """Adds a row on reading files one after the other."""
    reader, some = ImageReader(), list(inputs.values())[: 5 * CONTENTS]
    started = time.process_time()
    for path in some:
        reader.read(path)
    report.rows.append(Row("read, an image", "ms", {OWN: 1000 * (time.process_time() - started) / len(some)}))


def measure_writer(name: str, inputs: dict[str, Path], found: Detections, folder: Path, report: Report) -> None:
    """Adds a row on a writer by itself."""
    some = list(inputs.items())[: 5 * CONTENTS]
    reader, images = ImageReader(), list[PredictedImage]()
    for key, path in some:
        image = reader.read(path)
        images.append(PredictedImage(key, path.stem, copy.copy(found), image, path, reader.planes))
    (writer,) = make_writers([name], folder / name)
    started = time.process_time()
    for one in images:
        writer.add(one)
    writer.close()
    taken = time.process_time() - started
    report.rows.append(Row(f"write {name}, an image", "ms", {OWN: 1000 * taken / len(images)}))


def measure_stream(
    names: Sequence[str],
    title: str,
    inputs: dict[str, Path],
    found: Detections,
    folder: Path,
    model: float,
    report: Report,
) -> None:
    """Adds rows on the stream of all images to some writers."""

    def predict(images: Sequence[Tensor], batch_size: int | None = None) -> list[Detections]:
        return [copy.copy(found) for _ in images]

    writers = make_writers(names, folder)
    cpu, wall = time.process_time(), time.perf_counter()
    predict_files(predict, inputs, writers)  # type: ignore[arg-type]  # a function is enough to predict_batches
    seconds = {"CPU time": time.process_time() - cpu, "time": time.perf_counter() - wall}
    for kind, taken in seconds.items():
        report.rows.append(Row(f"stream, {title}: {kind}, an image", "ms", {OWN: 1000 * taken / len(inputs)}))
    share = 100 * seconds["time"] / len(inputs) / model
    report.rows.append(Row(f"stream, {title}: share of the model", "%", {OWN: share}))


def make_writers(names: Sequence[str], folder: Path) -> list[Any]:
    """The writers of these names, as ``segkit predict --write`` builds them."""
    folder.mkdir(parents=True)
    classes = [f"class {k}" for k in range(CLASSES)]
    runtime = {"output": folder, "classes": classes, "category_ids": list(range(1, CLASSES + 1))}
    runtime |= {"parts": PartFiles(folder / ".parts"), "image_ids": {}, "id_map": []}
    key = RESULT_WRITER_REGISTRY.key
    return [RESULT_WRITER_REGISTRY.build({key: name}, path="--write", **runtime) for name in names]
