"""The folder in which the pages' commands run: images, annotations and a trained run, under the names of the pages."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segkit
from segkit.data.formats import Synthetic
from segkit.engine.replay import save_batches
from segkit.registry import ALL_REGISTRIES
from segkit.structures import Batch

ROOT = Path(__file__).resolve().parents[2]
SIDE = 96
SHORT = ["train.iterations=1", "data.num_workers=0", "data.batch_size=2", "train.device=cpu", "train.report=false"]
MINE = """
_BASE_: segkit://quickstart.yaml
output_dir: output/mine
data:
  train: {format: coco, json: my_data/train.json, images: my_data/images}
  val: {from_train: 0.2, seed: 42}
"""


@dataclass(frozen=True)
class Runner:
    """Runs command lines in this process, in the folder of the pages."""

    folder: Path
    patch: pytest.MonkeyPatch
    done: set[tuple[str, ...]] = field(default_factory=set)

    def is_first(self, words: list[str]) -> bool:
        """Whether no training of this config and these weights ran yet, with any overrides."""
        flags = [word for i, word in enumerate(words) if word[:2] == "--" or words[i - 1][:2] == "--"]
        key = tuple(word for word in flags if word != "--dry-run" and "=" not in word)
        key += tuple(word for word in words if word.startswith("data.train="))
        if key in self.done:
            return False
        self.done.add(key)
        return True

    def __call__(self, words: list[str]) -> object:
        """The exit status of ``segkit ...`` or ``python tools/SCRIPT ...``."""
        self.patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            if words[0] == "segkit":
                runpy.run_module("segkit.__main__", run_name="__main__", alter_sys=True)
            else:
                assert words[0] == "python", words
                self.patch.setattr(sys, "argv", words[1:])
                runpy.run_path(str(ROOT / words[1]), run_name="__main__")
        return ended.value.code


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The folder, made once in each process of the test run."""
    folder = tmp_path_factory.mktemp("pages")
    data = Synthetic(num_images=10, image_size=(SIDE, SIDE), seed=3, min_objects=3, max_objects=6, max_size=40)
    for name in ("images", "my_data/images", "my_data/test"):
        (folder / name).mkdir(parents=True)
    for i in range(len(data)):
        write_image(folder / f"my_data/images/{i:04}.png", data, i)
    for name in ("images/shapes.png", "images/more.png", "my_data/test/0001.png", "my_data/test/0002.png"):
        write_image(folder / name, data, len(name) % len(data))
    for name in ("train", "val"):
        (folder / f"my_data/{name}.json").write_text(json.dumps(coco(data)))
    for i in range(6):
        write_cells(folder / f"my_cells/{i}", data, i)
    (folder / "rectangles.json").write_text(json.dumps([[[10, 10, 30, 20], [50, 40, 20, 30]]] * 4))
    (folder / "mine.yaml").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        runner = Runner(folder, patch)
        train = ["python", "tools/train_net.py", "--config-file", "mine.yaml", *SHORT]
        assert runner([*train, "train.checkpoint_period=1"]) == 0
    shutil.copytree(folder / "output/mine", folder / "output/quickstart")
    write_nonfinite_batch(folder / "output/mine", data)
    return folder


def write_image(path: Path, data: Synthetic, index: int) -> None:
    Image.fromarray(data.load(index).image.permute(1, 2, 0).numpy()).save(path)


def write_nonfinite_batch(run: Path, data: Synthetic) -> None:
    """The file that step 123 of a run would have left, its weights too large for a float."""
    saved = torch.load(run / "model_final.pth", weights_only=True)
    model = segkit.Predictor(run / "model_final.pth", device="cpu").model
    with torch.no_grad():
        model.roi_heads.box_head.classifier.weight.fill_(3e38)
    about = {"seed": 0, "precision": "fp32", "config": saved["config"], "classes": saved["classes"]}
    text = save_batches(run, [Batch.collate([data.load(0)])], step=122, model=model, about=about)
    assert "nonfinite_batch_0000123.pth" in text


def coco(data: Synthetic) -> dict:
    """The data set as a COCO file."""
    images, annotations = [], []
    for i, image_id in enumerate(data.image_ids):
        images.append({"id": image_id, "file_name": f"{i:04}.png", "height": SIDE, "width": SIDE})
        for found in data.ground_truth(i, data.load(i)):
            category = data.category_ids[found.pop("label")]
            number = len(annotations) + 1
            annotations.append({**found, "id": number, "image_id": image_id, "category_id": category})
    categories = [{"id": k, "name": name} for k, name in zip(data.category_ids, data.classes, strict=True)]
    return json.loads(
        json.dumps({"images": images, "annotations": annotations, "categories": categories}, default=float)
    )


def write_cells(folder: Path, data: Synthetic, index: int) -> None:
    """An image with a label map of its objects, all of class 1."""
    folder.mkdir(parents=True)
    sample = data.load(index)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for number, mask in enumerate(sample.targets.masks.to_dense(), start=1):
        labels[mask.numpy()] = number
    write_image(folder / "image.tif", data, index)
    Image.fromarray(labels).save(folder / "class1.tif")


@pytest.fixture(scope="session")
def done():
    """The trainings that ran in this process."""
    return set()


@pytest.fixture
def runner(world, done, monkeypatch):
    """Runs commands in the folder; what a page registers and imports is gone afterwards."""
    monkeypatch.chdir(world)
    registered = [(registry, dict(registry._obj_map)) for registry in ALL_REGISTRIES]
    modules, paths = set(sys.modules), list(sys.path)
    yield Runner(world, monkeypatch, done)
    for registry, components in registered:
        for name in registry._obj_map.keys() - components.keys():
            if not registry._obj_map[name].__module__.startswith("segkit"):  # else its home was loaded meanwhile
                del registry._obj_map[name]
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(world)):
            del sys.modules[name]
    sys.path[:] = paths
    segkit.data.formats.catalog._CATALOG.clear()
