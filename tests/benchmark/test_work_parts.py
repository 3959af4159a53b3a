"""The parts without models at a tiny size: equal work, and notes on peers."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from segkit.benchmark import (
    annotation_memory,
    annotations,
    data,
    evaluate,
    evaluators,
    measure,
    memory,
    postprocess,
    sides,
)
from segkit.benchmark.annotation_file import write_annotations
from segkit.benchmark.annotation_memory import every_worker_all, total_memory
from segkit.benchmark.evaluation_scene import make_scenes
from segkit.benchmark.measure import alternate
from segkit.benchmark.options import PARTS, Options
from segkit.benchmark.peak_memory import figures_of
from segkit.benchmark.report import OWN, PEER, Report
from segkit.benchmark.run import run_parts
from segkit.benchmark.scene import make_targets
from segkit.data import array_cache
from segkit.structures import InstanceMasks
from segkit.utils.errors import SegkitError

SMALL = {"device": "cpu", "batch": 1, "objects": 5, "size": (64, 96), "runs": 2}


@pytest.fixture(autouse=True)
def single_steps(monkeypatch):
    """No repetition of quick steps, and few boxes for NMS."""
    monkeypatch.setattr(sides, "SHORTEST_TURN", 0.0)
    monkeypatch.setattr(postprocess, "CANDIDATES", 40)


def measured(part, path, **changes):
    """A part's rows, its report, and the content of its JSON file."""
    (report,) = run_parts([part], Options(**{**SMALL, **changes}), str(path / "out.json"))
    (content,) = json.loads((path / "out.json").read_text())["parts"]
    assert content["part"] == part and [row["work"] for row in content["rows"]] == [row.work for row in report.rows]
    assert content["options"]["objects"] == {**SMALL, **changes}["objects"]  # with what it was measured
    return {row.work: row.values for row in report.rows}, report, content


def test_data(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SHORTER", 100)
    for measure_more in ("measure_channels", "measure_windows", "measure_check"):  # which test_data_targets.py runs
        monkeypatch.setattr(data, measure_more, lambda *arguments: None)
    rows, _, content = measured("data", tmp_path, batch=2)
    assert rows["5 objects: greatest difference of the images"] == {OWN: 0}
    assert rows["5 objects: greatest difference of the boxes"][OWN] < 1e-3
    assert rows["5 objects: mean IoU with the peer's masks"][OWN] > 0.9
    masks = rows["5 objects: masks of an image"]
    assert masks[PEER] == pytest.approx(5 * 100 * 150 / 1e6) and 0 < masks[OWN] < masks[PEER]
    work = "5 objects: an image"
    seconds = content["seconds"][work]
    assert {side: len(single) for side, single in seconds.items()} == {OWN: 2, PEER: 2}
    assert rows[work][OWN] == pytest.approx(sum(seconds[OWN]) / 2 / 2)  # a median of two; a step loads two images
    whole, alone = rows[work], rows["5 objects: of it the image alone"]
    assert rows["5 objects: of it the masks' share"][PEER] == pytest.approx(1000 * (whole[PEER] - alone[PEER]))


def test_masks(tmp_path):
    rows, _, content = measured("masks", tmp_path)
    differ = rows["target pixels unlike the reference"]
    assert differ[OWN] < 0.01 and 0.1 < differ[PEER] < 30
    assert rows["target pixels compared"][OWN] == 128 * 28 * 28
    assert len(content["seconds"]) == 2


def test_postprocess(tmp_path):
    rows, report, _ = measured("postprocess", tmp_path, size=(128, 160))
    differ = rows["pixels unlike the reference, 128 x 160"]
    assert differ[OWN] < 0.01 and 0.1 < differ[PEER] < 30
    kept = rows["boxes kept"]
    assert kept[OWN] == kept[PEER] == rows["boxes kept by both"][OWN] > 0
    assert not any("time of the larger" in row.work for row in report.rows)  # one size was asked for


def test_postprocess_of_both_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(postprocess, "SIZES", ((64, 64), (128, 128)))
    rows, _, _ = measured("postprocess", tmp_path, size=None)
    small, large = (rows[f"paste and encode, {side} x {side}"] for side in (64, 128))
    assert rows["time of the larger image by that of the smaller"][PEER] == large[PEER] / small[PEER]


PASTING = """
import torch
def paste_masks_in_image(masks, boxes, size, threshold):
    return torch.zeros(len(masks), *size, dtype=torch.bool)
"""


def test_an_installed_peer_has_a_column(tmp_path, monkeypatch):
    layers = tmp_path / "detectron2" / "layers"
    layers.mkdir(parents=True)
    (layers / "mask_ops.py").write_text(PASTING)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("detectron2", "detectron2.layers", "detectron2.layers.mask_ops"):
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(sys.modules, module)  # a real one comes back afterwards, the stand-in goes
    rows, report, _ = measured("postprocess", tmp_path)
    assert rows["pixels unlike the reference, 64 x 96"]["detectron2"] == 100  # it pastes nothing, and that shows
    assert "detectron2" in report.table().splitlines()[0]
    monkeypatch.setattr(postprocess, "MODULES", {"detectron2": "not_installed_anywhere"})
    rows, report, _ = measured("postprocess", tmp_path)
    assert list(rows["paste and encode, 64 x 96"]) == [OWN, PEER]
    assert "detectron2 is not measured: it is not installed" in report.notes


def test_the_reference_of_pasting_by_brute_force():
    options = Options(**SMALL).filled(**postprocess.DEFAULTS)
    found = postprocess.make_detections(options)
    dense = torch.zeros(len(found), *found.size, dtype=torch.bool)
    for image, box, probs in zip(dense, found.boxes, found.mask_probs, strict=True):
        window, (left, top) = postprocess.reference(box, probs, found.size)
        image[top : top + window.shape[0], left : left + window.shape[1]] = window
        x0, y0, x1, y1 = box.tolist()
        x, y = (x0 + x1) / 2, (y0 + y1) / 2  # the middle is inside, what is beyond the box is not
        assert image[int(y), int(x)] and not image[:, int(x1) + 1 :].any() and not image[: max(0, int(y0) - 1)].any()
    assert postprocess.differing_pixels(found, InstanceMasks.from_dense(dense).to_rle()) == 0
    other = dense.roll((3, -2), dims=(1, 2))
    other[0] = True
    other[1] = False
    expected = 100 * (other ^ dense).sum().item() / dense.sum().item()
    assert postprocess.differing_pixels(found, InstanceMasks.from_dense(other).to_rle()) == pytest.approx(expected)


def test_evaluate(tmp_path):
    rows, report, content = measured("evaluate", tmp_path, batch=6, objects=12, memory=False)
    for name in ("bbox/AP", "segm/AP", "segm/AR"):
        assert 0.1 < rows[name][OWN] < 0.9
        assert rows[name]["pycocotools"] == pytest.approx(rows[name][OWN], abs=1e-9)
    assert rows["greatest difference from segkit's metrics"]["pycocotools"] <= 1e-9
    assert rows["metrics compared"]["pycocotools"] >= 18
    assert (
        rows["greatest difference from segkit's metrics"]["hotcoco"] <= 1e-9
        and rows["metrics compared"]["hotcoco"] >= 18
    )
    assert {f"evaluator {name}" for name in ("Boundary", "Cells", "LVIS", "Panoptic")} <= rows.keys()
    assert any(work.startswith("all ") for work in rows)
    assert not any("differ by" in note for note in report.notes)
    assert content["peer"] == "pycocotools" and content["rows"][0]["ratio"][OWN] > 0


def test_memory_of_the_evaluators(tmp_path, monkeypatch):
    """What the separate process does, in this one."""

    def peak(part, side, options, folder):
        options = Options(**json.loads(json.dumps(asdict(options))))  # on the way to the process
        metrics = evaluate.make_side(options, side, folder).step()
        kinds.update(name.partition("/")[0] for name in metrics)
        return 3e6

    kinds = set()
    monkeypatch.setattr(evaluators, "peak_memory", peak)
    rows, _, _ = measured("evaluate", tmp_path, batch=2)
    assert rows["peak memory of all evaluators"] == {OWN: 3.0}
    assert {"bbox", "segm", "cells", "lvis_segm", "panoptic", "boundary"} <= kinds


def test_evaluators_that_differ_add_a_note():
    made = {OWN: evaluate.own_metrics(make_scenes(2, 8, (128, 128), evaluate.CLASSES, (16, 40)))}
    made["pycocotools"] = {**made[OWN], "segm/AP": made[OWN]["segm/AP"] + 1e-6}
    report = Report("evaluate", "", [])
    evaluate.agreement(made, report)
    assert report.notes == ["pycocotools and segkit differ by 1e-06: they may not do the same work"]
    made["pycocotools"]["segm/APx"] = 0.5  # what segkit has not cannot agree
    evaluate.agreement(made, report)
    assert "they may not do the same work" in report.notes[-1] and len(report.notes) == 2


def test_evaluators_that_are_not_installed_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(evaluate.PEERS, "faster-coco-eval", ("not_installed_anywhere", "COCOeval_faster"))
    rows, report, _ = measured("evaluate", tmp_path, batch=2, memory=False)
    assert set(rows["bbox/AP"]) == {OWN, "pycocotools", "hotcoco"}
    assert "faster-coco-eval is not measured: it is not installed" in report.notes


def test_memory(tiny, tmp_path, monkeypatch):
    """Runs its processes' work in this one, with made-up figures."""
    import importlib

    done = []

    def peak(part, side, options, folder):
        if part != "train":  # which test_parts.py runs
            importlib.import_module(PARTS[part]).make_side(options, side, folder).step()
        done.append((part, side, options.objects))
        return float(options.objects * 2**20) if side == OWN else "no luck"

    monkeypatch.setattr(memory, "peak_memory", peak)
    opened = []

    def annotations(side, file, workers, reads):
        opened.append((side, file.name))
        # What a worker needs in order to read is the same with both files, if it reads as much.
        return 2.0**20 * (file.stat().st_size + workers * reads)

    monkeypatch.setattr(memory, "annotation_memory", annotations)
    changes = {"config_file": tiny, "num_classes": 3, "objects": 15, "annotations": 320}
    rows, report, _ = measured("memory", tmp_path, **changes)
    parts = [("data", 15), ("postprocess", 15), ("train", 1), ("train", 15)]
    assert done == [(part, side, objects) for part, objects in parts for side in (OWN, PEER)]
    assert rows["of it for the further objects"] == {OWN: 14}
    assert rows["paste and encode: 15 objects, 64 x 96"] == {OWN: 15}
    assert "torchvision: no figure for paste and encode: 15 objects, 64 x 96: no luck" in report.notes
    assert rows["8 workers by 1"] == {OWN: 1, PEER: 1}
    assert opened[:2] == [(OWN, "full.json")] * 2  # the first time it is parsed
    with pytest.raises(SegkitError, match="--no-memory leaves nothing"):
        run_parts(["memory"], Options(memory=False))


def test_annotations(tmp_path, monkeypatch):
    """What its processes do, in this one."""
    monkeypatch.setattr(array_cache, "MIN_CACHED_BYTES", 100_000)

    def fake_figures(module, side, file, environment):
        assert module == "segkit.benchmark.annotations"
        monkeypatch.setenv("SEGKIT_CACHE", environment["SEGKIT_CACHE"])
        cached = len(list(array_cache.cache_folder().glob("*")))
        figures = annotations.opening(side, Path(file))
        opened.append((side, cached, figures))
        return list(map(float, figures))

    opened = []
    monkeypatch.setattr(annotations, "figures_of", fake_figures)
    rows, report, _ = measured("annotations", tmp_path, annotations=321)
    # Each turn begins with an empty cache.
    assert [(side, cached) for side, cached, _ in opened] == [(OWN, 0), (OWN, 1), ("pycocotools", 1)] * 2
    assert rows["objects"] == {OWN: 321, "pycocotools": 321}
    assert rows["first opening"][OWN] == pytest.approx(sum(figures[0] for _, _, figures in opened[0::3]) / 2)
    assert rows["second opening"]["pycocotools"] == rows["first opening"]["pycocotools"]
    assert 600 < rows["in the cache, an annotation"][OWN] < 900
    monkeypatch.setattr(annotations, "MOST_OF_PEER", 300)
    rows, report, _ = measured("annotations", tmp_path, annotations=301)
    assert "pycocotools is not measured: 301 annotations would take too much memory" in report.notes
    assert rows["objects"] == {OWN: 301}
    monkeypatch.setattr(annotations, "figures_of", lambda *arguments, environment: "its process failed: no luck")
    rows, report, _ = measured("annotations", tmp_path, annotations=3)
    assert "segkit: its process failed: no luck" in report.notes and rows["first opening"] == {}
    assert "the file is too small for the cache: it is read again each time" in report.notes


def test_figures_of_another_process(tmp_path):
    file = tmp_path / "instances.json"
    write_annotations(file, 120, polygons=True)
    write_annotations(tmp_path / "small.json", 5, polygons=True)
    seconds, peak, objects = figures_of("segkit.benchmark.annotations", OWN, str(file))
    assert seconds > 0 and peak >= 0 and objects == 120
    failed = figures_of("json.tool", str(tmp_path / "none.json"))  # a module that fails without importing torch
    assert "its process failed: " in failed and "none.json" in failed


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("side", [OWN, PEER])
def test_every_worker_reads_all_annotations(side, tmp_path, monkeypatch):
    monkeypatch.setattr(annotation_memory, "CHUNK", 2)
    write_annotations(tmp_path / "a.json", 321)
    total, count = total_memory(side, tmp_path / "a.json", 2, 4)
    assert count == 2 * 321 and total > 2**20
    assert total_memory(side, tmp_path / "a.json", 2, 6)[1] == 2 * (321 + 200)  # round and round
    first, second, *others = every_worker_all(3, 2)
    assert first is second and [first, *others] == [[0, 1], [2], [2]]


def test_quick_sides_repeat_in_their_turn(monkeypatch):
    order = []
    monkeypatch.setattr(measure, "seconds_of", lambda step, device: step())
    steps = {"quick": lambda: order.append("q") or 0.25, "slow": lambda: order.append("s") or 2.0}
    times, _ = alternate(steps, 2, torch.device("cpu"), shortest_turn=0.5)
    assert "".join(order) == "qs" + "qqs" * 2  # the first of each warms up
    assert times == {"quick": [0.25] * 4, "slow": [2.0] * 2}


def test_objects_of_a_stated_size():
    for size in ((128, 128), (512, 700)):
        crop_boxes = make_targets(50, size, 3, torch.Generator().manual_seed(0), (16, 60)).masks.crop_boxes
        longer = (crop_boxes[:, 2:] - crop_boxes[:, :2]).amax(1)
        assert longer.min() >= 15 and longer.max() <= 60 and longer.max() > 45  # an ellipse may miss its box's border


def test_options_of_the_parts():
    with pytest.raises(SegkitError, match=r"--annotations must be at least 1, not 0"):
        Options(annotations=0)
    assert Options(runs=3).filled(runs=5, batch=2) == Options(runs=3, batch=2)
