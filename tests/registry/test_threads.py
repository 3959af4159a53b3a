"""First use by several threads at once: each of them gets the complete result."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import segkit
from segkit.data import LabelMap, Synthetic
from segkit.data.formats.label_map import dataset as label_map
from segkit.modeling.nonfinite import NotFiniteError, first_not_finite
from segkit.registry import Registry
from segkit.utils.errors import SegkitError

HOME = """
import time
import seg_test_shelf_{number} as shelf
shelf.REG.register(type("Early", (), {{}}))
assert "Early" in shelf.REG  # looked up while the home is being imported
time.sleep(0.2)
shelf.REG.register(type("Late", (), {{}}))
"""


@pytest.mark.parametrize("number", range(2))
def test_a_registrys_home(tmp_path, monkeypatch, number):
    (tmp_path / f"seg_test_late_{number}.py").write_text(HOME.format(number=number))
    (tmp_path / f"seg_test_shelf_{number}.py").write_text(
        f"from segkit.registry import Registry\nREG = Registry('R', 'seg_test_late_{number}')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry = __import__(f"seg_test_shelf_{number}").REG
    barrier = threading.Barrier(6)

    def ask(i):
        barrier.wait()
        time.sleep(0.02 * i)
        return registry.names() if number else registry.get("Late").__name__

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(ask, range(6)))
    assert found == [["Early", "Late"] if number else "Late"] * 6


def test_a_home_that_failed_is_tried_again_by_each(tmp_path, monkeypatch):
    (tmp_path / "seg_test_fails.py").write_text("import time\ntime.sleep(0.05)\nraise OSError('no')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry("R", "seg_test_fails")

    def ask(i):
        try:
            return registry.names()
        except OSError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == ["no"] * 4
    assert "seg_test_fails" not in sys.modules


def test_lazy_names_of_the_package():
    """In a process that has imported nothing: some import a package, and others a module of it."""
    code = (
        "import segkit\n"
        "from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "names = list(reversed(segkit.__all__))\n"
        "print(len(list(Pool(8).map(lambda name: getattr(segkit, name), names))) == len(names))\n"
        "print('FPN' in list(Pool(4).map(lambda r: r.names(), [segkit.NECK_REGISTRY] * 4))[3])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\nTrue\n", done.stderr


def test_counts_of_label_maps(tmp_path, monkeypatch):
    """One thread counts; the others wait for its counts."""
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a" / "image.png")
    for k in (1, 2, 3):
        Image.fromarray(np.full((8, 8), k, np.uint8)).save(tmp_path / "a" / f"class{k}.png")
    count = label_map.count_objects

    def slowly(file):
        time.sleep(0.03)
        return count(file)

    monkeypatch.setattr(label_map, "count_objects", slowly)
    dataset = LabelMap(root=str(tmp_path))

    def ask(i):
        time.sleep(0.01 * i)
        return dataset.label_counts(0)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(12))) == [{0: 1, 1: 1, 2: 1}] * 12


def test_a_predictor():
    cfg = segkit.load_config("segkit://quickstart.yaml", ["model.backbone={name: TinyNet, width: 8}", "data.classes=[a]",
                             "data.test_transforms=[{name: PercentileContrast}]"])  # fmt: skip
    predictor = segkit.Predictor(cfg, model=segkit.build_model(cfg), score_threshold=0.0)
    images = [Synthetic(num_images=4, image_size=(48, 64), max_size=30).load(i).image for i in range(4)] * 2
    alone = [predictor(image) for image in images]
    before = torch.random.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(predictor, images))
    for one, two in zip(alone, together, strict=True):
        assert torch.equal(one.boxes, two.boxes) and torch.equal(one.scores, two.scores)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_search_for_nan_watches_its_own_thread_only():
    """Its hooks are in the model that other threads predict with."""
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    inside, outside = threading.Event(), threading.Event()
    results = []

    def other():
        inside.wait(5)
        results.append(bool(torch.isnan(model(torch.full((1, 1), float("nan")))).all()))
        outside.set()

    thread = threading.Thread(target=other)
    thread.start()

    def run():
        inside.set()
        outside.wait(5)
        model(torch.ones(1, 1))
        raise NotFiniteError("between the layers")

    assert first_not_finite(model, run) is None
    thread.join()
    assert results == [True]


def test_configurations_with_imports_of_the_same_file_name(tmp_path):
    """Each thread's folder is on the path only while its own module is imported."""
    for i in range(4):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / f"seg_test_thread_{i}.py").write_text(
            "import time\ntime.sleep(0.03)\nimport seg_test_thread_helper\n"
        )
        (folder / "run.yaml").write_text(f"_BASE_: segkit://quickstart.yaml\nimports: [seg_test_thread_{i}]\n")
    (tmp_path / "0" / "seg_test_thread_helper.py").write_text("")

    def load(i):
        try:
            return segkit.load_config(tmp_path / str(i) / "run.yaml").imports
        except SegkitError as error:
            return str(error)

    before = list(sys.path)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(load, range(4)))
    finally:
        sys.path[:] = before
    assert found[0] == ("seg_test_thread_0",)
