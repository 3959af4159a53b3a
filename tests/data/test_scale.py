"""Memory of large data sets: opening the JSON, annotations in many workers, many objects in a large image."""

import dataclasses
import gc
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.data import Coco, LabelMap, Synthetic, array_cache, build_test_loader, build_transforms
from segkit.data.array_file import ArrayFile, ArrayWriter
from segkit.data.formats.coco import table as coco_table
from segkit.data.formats.coco.annotations import HEAD, POLYGONS
from segkit.data.formats.coco.table import DTYPES, CocoTable
from segkit.data.formats.parsing import json_stream
from segkit.structures import InstanceMasks
from segkit.utils.seeding import generator_for

needs_proc = pytest.mark.skipif(not os.access("/proc/self/smaps_rollup", os.R_OK), reason="needs Linux's /proc")


def peak(function):
    """Peak of the bytes that Python and NumPy hold while the function runs."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("annotations_first", [False, True])
def test_a_json_is_opened_in_a_fraction_of_its_size(tmp_path, monkeypatch, annotations_first):
    monkeypatch.setattr(json_stream, "CHUNK", 1 << 14)
    monkeypatch.setattr(array_cache, "MIN_CACHED_BYTES", 1 << 20)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    polygon = [round(20 + 10 * np.sin(k), 2) for k in range(120)]
    annotation = {"segmentation": [polygon], "area": 314.5, "bbox": [10, 10, 20.5, 20], "category_id": 1, "iscrowd": 0}
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 64, "width": 64} for i in range(100)],
        "annotations": [{**annotation, "id": k, "image_id": k * 7 % 100} for k in range(2500)],
        "categories": [{"id": 1, "name": "cell"}],
    }
    keys = ["annotations", "images", "categories"] if annotations_first else list(content)
    file = tmp_path / "large.json"
    file.write_text(json.dumps({key: content[key] for key in keys}))
    size = file.stat().st_size
    assert size > 2 << 20
    first = peak(lambda: CocoTable(file))
    assert first < size / 3
    monkeypatch.setattr(array_cache, "_in_memory", None)
    monkeypatch.setattr(coco_table, "write_table", None)
    assert peak(lambda: CocoTable(file)) < first
    assert CocoTable(file).counts().tolist() == [25] * 100


def table_of(images, per_image, place, monkeypatch):
    """A table of triangles, made without a JSON, in memory or, with a path, in a file."""
    count = images * per_image
    record = HEAD.pack(1, 2, 30, 40, 600) + np.array([60.0, *range(60)]).tobytes()
    ids = np.arange(1, count + 1)
    columns = {
        "image_id": np.arange(images),
        "height": np.full(images, 100),
        "width": np.full(images, 100),
        "name_end": np.arange(1, images + 1),
        "last": np.arange(1, images + 1) * per_image,
        "names": np.full(images, ord("x")),
        "category": ids % 3,
        "kind": np.full(count, POLYGONS),
        "crowd": np.zeros(count),
        "start": (ids - 1) * len(record),
        "end": ids * len(record),
        "records": np.frombuffer(record * count, np.uint8),
    }
    stream = io.BytesIO()
    writer = ArrayWriter(stream)
    for name, dtype in DTYPES.items():
        writer.add(name, columns[name], dtype)
    facts = {"skipped": {}, "annotations": count, "lost": {}, "category_notes": [], "outside": 0}
    writer.finish({"categories": {"a": 1, "b": 2, "c": 3}, **facts})
    if place is not None:
        place.write_bytes(stream.getvalue())
    arrays = ArrayFile(stream.getvalue() if place is None else place, DTYPES)
    monkeypatch.setattr(coco_table, "cached_arrays", lambda *arguments: arrays)
    return CocoTable(Path("none.json"))


def read_all(table, barrier):
    gc.freeze()  # as in a loader's worker: else it depends on the number of modules whether a collection writes to all
    for index in range(0, len(table), 10):
        table.objects(index)
    for name in DTYPES:
        table.arrays[name].max()  # touches every page
    barrier.wait(60)
    barrier.wait(60)


def memory_with_workers(table, workers):
    """PSS of this process and of forked ones that have read all annotations, together and without libraries, in bytes."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(workers + 1)
    processes = [context.Process(target=read_all, args=(table, barrier), daemon=True) for _ in range(workers)]
    for process in processes:
        process.start()
    barrier.wait(60)
    total = sum(map(pss_without_libraries, [os.getpid(), *(process.pid for process in processes)]))
    barrier.wait(60)
    for process in processes:
        process.join()
    return total


def pss_without_libraries(number):
    """Whether a mapping is a library, which other programs share too, so that its PSS varies."""
    total, is_library = 0, False
    for line in Path(f"/proc/{number}/smaps").read_text().splitlines():
        key, *values = line.split()
        if not key.endswith(":"):  # the line of a mapping: addresses, rights, ..., file
            is_library = ".so" in values[-1]
        elif key == "Pss:" and not is_library:
            total += int(values[0]) * 1024
    return total


@needs_proc
@pytest.mark.parametrize("mapped", [False, True])
def test_workers_share_the_annotations(tmp_path, mapped):
    # In a new process: in this one, workers would write to the heap that earlier tests have used.
    command = [sys.executable, __file__, *([str(tmp_path)] if mapped else [])]
    growth, size = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert size > 30 << 20
    assert growth < 0.2 * size, f"{growth / 2**20:.1f} MB more of {size / 2**20:.1f}"


def measure_workers(folder=None):
    """Memory that three more workers need for a large table, compared with a small one, and the large table's bytes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        large = table_of(200, 300, folder and folder / "large.arrays", monkeypatch)
        small = table_of(2, 3, folder and folder / "small.arrays", monkeypatch)
    size = sum(large.arrays[name].nbytes for name in DTYPES)
    # The small table measures the memory of the workers themselves.
    growth = memory_with_workers(large, 4) - memory_with_workers(large, 1)
    growth -= memory_with_workers(small, 4) - memory_with_workers(small, 1)
    return growth, size


class Collected(Synthetic):
    """Its image ids are the bytes that garbage collection makes private to a worker."""

    def load(self, index):
        before = own_memory()
        gc.collect()
        return dataclasses.replace(super().load(index), image_id=own_memory() - before)


def own_memory():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_Dirty:"))


@needs_proc
def test_a_worker_shares_its_inherited_memory_after_garbage_collection():
    inherited = [[] for _ in range(500_000)]  # garbage collection writes to each of them
    size = len(inherited) * sys.getsizeof(inherited[0])
    dataset = Collected(num_images=1, image_size=(64, 64), max_size=30)
    [batch] = build_test_loader(dataset, build_transforms([]), num_workers=1)
    assert batch.image_ids[0] < 0.2 * size, f"{batch.image_ids[0] / 2**20:.1f} MB of {size / 2**20:.1f}"


def peak_memory_of(function):
    """Peak growth of this process in bytes while the function runs."""

    def status(key):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    except OSError:
        pytest.skip("the peak of the memory cannot be set back")
    before = status("VmRSS")
    function()
    return status("VmHWM") - before


@pytest.fixture(scope="module")
def thousand_objects(tmp_path_factory):
    """1,000 objects of 16 to 60 pixels in 4096 x 4096, as COCO files of each kind and as a label map."""
    folder = tmp_path_factory.mktemp("thousand")
    side, rng = 4096, np.random.default_rng(0)
    labels = np.zeros((side, side), np.uint16)
    annotations = {"polygons": [], "compressed": [], "counts": []}
    for number in range(1, 1001):
        height, width = (int(v) for v in rng.integers(16, 61, 2))
        y, x = (int(v) for v in rng.integers(0, side - 60, 2))
        labels[y : y + height, x : x + width] = number
        polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
        runs = [height if k % 2 else side - height for k in range(2 * width)]
        runs[0] = x * side + y
        counts = [*runs, side * side - sum(runs)]
        annotations["polygons"].append([polygon])
        annotations["counts"].append({"size": [side, side], "counts": counts})
    Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(folder / "image.bmp")
    Image.fromarray(labels).save(folder / "class1.tif")
    annotations["compressed"] = InstanceMasks.from_rle(annotations["counts"]).to_rle()
    for kind, segmentations in annotations.items():
        content = {
            "images": [{"id": 1, "file_name": "image.bmp", "height": side, "width": side}],
            "categories": [{"id": 1, "name": "cell"}],
            "annotations": [{"image_id": 1, "category_id": 1, "segmentation": s} for s in segmentations],
        }
        (folder / f"{kind}.json").write_text(json.dumps(content))
    root = folder / "root" / "a"
    root.mkdir(parents=True)
    for name in ("image.bmp", "class1.tif"):
        (folder / name).rename(root / name)
    return folder


@needs_proc
@pytest.mark.parametrize("kind", ["polygons", "compressed", "counts", "label_map"])
def test_a_thousand_objects_in_a_large_image(thousand_objects, kind):
    root = thousand_objects / "root"
    if kind == "label_map":
        dataset = LabelMap(root=str(root))
    else:
        dataset = Coco(json=str(thousand_objects / f"{kind}.json"), images=str(root / "a"))
    transforms = build_transforms(
        [{"name": "RandomHorizontalFlip", "p": 1.0}, {"name": "ResizeShortestEdge", "sizes": [800], "max_size": 1333}]
    )
    found = {}

    def run():
        sample = dataset.load(0)
        found["file"] = dataset.ground_truth(0, sample)
        sample = transforms(sample, generator_for("augmentation", 0))
        found["targets"], found["rles"] = sample.targets, sample.targets.masks.to_rle()

    growth = peak_memory_of(run)
    assert len(found["file"]) == len(found["targets"]) == len(found["rles"]) > 900
    assert found["targets"].masks.image_size == (800, 800) and (found["targets"].masks.areas() > 0).all()
    # A thousand dense masks need 16 GB; the image has 50 MB, and resizing it needs a few times that.
    assert growth < 500 << 20, f"{growth / 2**20:.0f} MB"


if __name__ == "__main__":
    print(*measure_workers(*map(Path, sys.argv[1:])))
