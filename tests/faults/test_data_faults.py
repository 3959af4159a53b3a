"""Images that vanish or are cut off during a run, workers that die, batches without objects."""

import json
import os
import re
import signal
from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.config import load_config
from segkit.data import build_dataset, build_train_loader, build_transforms
from segkit.data.samplers import ShuffleSampler
from segkit.engine.run import train
from segkit.utils.errors import SegkitError


def coco(folder, images=6, objects=6):
    """Images of 64 x 64, the first ``objects`` of them with a square each, as the spec of a COCO data set."""
    (folder / "images").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (images, 64, 64, 3), dtype=np.uint8)
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    for i in range(images):
        Image.fromarray(pixels[i]).save(folder / "images" / f"{i}.png")
        content["images"].append({"id": i, "file_name": f"{i}.png", "height": 64, "width": 64})
        square = [[10, 10, 40, 10, 40, 40, 10, 40]]
        annotation = {"id": i + 1, "image_id": i, "category_id": 1, "segmentation": square, "iscrowd": 0}
        content["annotations"] += [{**annotation, "bbox": [10, 10, 30, 30], "area": 900}] if i < objects else []
    (folder / "a.json").write_text(json.dumps(content))
    return {"format": "coco", "json": str(folder / "a.json"), "images": str(folder / "images")}


def loader(spec, **settings):
    dataset = build_dataset(spec)
    sampler = ShuffleSampler(num_samples=len(dataset), seed=0)
    settings = {"batch_size": 3, "seed": 0, **settings}
    return build_train_loader(dataset, build_transforms([], path="t"), sampler=sampler, **settings)


def take(batches, count=4):
    """File names of batches, with the images that each one replaces."""
    found = []
    for batch in batches:
        found.append([(sample.file_name, sample.skipped) for sample in batch.samples])
        if len(found) == count:
            return found
    raise AssertionError("the loader ended")


def spoil(folder, how):
    path = folder / "images" / "2.png"
    if how == "vanished":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["vanished", "cut short"])
def test_an_image_that_becomes_unreadable_during_a_run(tmp_path, how, workers, caplog):
    spec = coco(tmp_path)
    good = take(loader(spec))
    settings = {"num_workers": workers}
    stopping, skipping = loader(spec, **settings), loader(spec, skip_unreadable=True, **settings)
    spoil(tmp_path, how)
    with pytest.raises(SegkitError, match=r"2\.png: "):
        take(stopping)
    found = take(skipping)
    assert [len(batch) for batch in found] == [3] * 4
    for before, after in zip(chain(*good), chain(*found), strict=True):
        if before[0] == "2.png":
            assert after[0] == "3.png" and len(after[1]) == 1 and "2.png" in after[1][0]
        else:
            assert after == before
    assert caplog.text.count("2.png") == 1, "warned more than once"


def test_a_disk_that_fails(tmp_path):
    spec = coco(tmp_path, images=30)
    batches = loader(spec, skip_unreadable=True)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    with pytest.raises(SegkitError, match=r"png: there is no such image file; .*10 images after it"):
        take(batches)


class Killing(torch.utils.data.Dataset):
    """In a worker, it kills the process or raises an error that is not the user's mistake."""

    def __init__(self, dataset, how):
        self.dataset, self.how, self.main = dataset, how, os.getpid()

    def __getattr__(self, name):
        return getattr(self.__dict__["dataset"], name)

    def __len__(self):
        return len(self.dataset)

    def load(self, index):
        if os.getpid() != self.main:
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ZeroDivisionError("in a worker")
        return self.dataset.load(index)


@pytest.mark.parametrize("how, error, message", [
    ("killed", RuntimeError, r"DataLoader worker .*(killed|exited)"), ("raises", ZeroDivisionError, "in a worker"),
])  # fmt: skip
def test_a_worker_that_dies_or_raises(tmp_path, how, error, message):
    batches = loader(coco(tmp_path), num_workers=1)
    items = batches._loader.dataset
    items.dataset = Killing(items.dataset, how)
    with pytest.raises(error, match=message):
        take(batches)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_finish_their_batch_at_a_signal_to_all(tmp_path, number):
    """A cluster's SIGTERM and a terminal's Ctrl-C come to all processes of a run."""
    batches = iter(loader(coco(tmp_path), num_workers=1))
    names = [batch.file_names for batch, _ in zip(batches, range(1), strict=False)]
    import multiprocessing

    for worker in multiprocessing.active_children():
        os.kill(worker.pid, number)
    names += [next(batches).file_names for _ in range(5)]
    assert len(names) == 6


def config(folder, spec, *overrides):
    small = [
        "train.iterations=4", "train.eval_period=2", "train.checkpoint_period=1", "train.log_period=1", "data.batch_size=2",
        "data.num_workers=0", "train.device=cpu", "model.neck.out_channels=16", "data.val=null", "predict.score_threshold=0.9",
    ]  # fmt: skip
    return load_config(
        "segkit://quickstart.yaml", [f"data.train={json.dumps(spec)}", f"output_dir={folder}", *small, *overrides]
    )


def test_a_run_meets_a_vanished_image_and_goes_on(tmp_path):
    """The state is saved before the error; with the image restored or data.unreadable=skip, the run resumes."""
    spec = coco(tmp_path)
    cfg = config(tmp_path / "run", spec)
    train(config(tmp_path / "run", spec, "train.iterations=1"))
    spoil(tmp_path, "cut short")
    with pytest.raises(SegkitError, match=r"2\.png: cannot be read"):
        train(cfg, resume=True)
    train(config(tmp_path / "run", spec, "data.unreadable=skip"), resume=True)
    written = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in written] == [1, 2, 3, 4]
    assert sum(line.get("data/skipped", 0) for line in written) >= 1
    log = (tmp_path / "run" / "log.txt").read_text()
    assert re.search(r"train.iterations +1 +4 +the end moves", log)
    assert re.search(r"data.unreadable +stop +skip +", log)


def test_batches_without_any_object(tmp_path):
    spec = coco(tmp_path, objects=1)
    few = ["train.iterations=4", "data.batch_size=1"]
    train(config(tmp_path / "run", spec, *few))
    written = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    assert all(np.isfinite(line["loss/total"]) for line in written)
    assert sum(line["loss/mask"] == 0 for line in written) >= 3  # one image of six has an object
    with pytest.raises(SegkitError, match="holds an earlier run"):
        train(config(tmp_path / "run", spec))
    train(config(tmp_path / "run", spec, "train.iterations=1"), restart=True)
    earlier = (tmp_path / "run" / "previous_1" / "metrics.json").read_text().splitlines()
    assert [json.loads(line) for line in earlier] == written
