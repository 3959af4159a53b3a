"""Suggested configurations: deterministic, plain, and with a reason for each key."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path

import pytest
import torch
from rectangles import Rectangles, scattered

import segkit
from segkit.config.yaml_reader import read_yaml
from segkit.dataset_tools.suggest import config as suggestions
from segkit.dataset_tools.suggest import timing
from segkit.dataset_tools.suggest.choices import leaves
from segkit.dataset_tools.suggest.config import suggest
from segkit.dataset_tools.suggest.schedule import RunTimes
from segkit.dataset_tools.suggest.timing import OutOfMemory, StepClock
from segkit.utils.cli import Terminated
from segkit.utils.errors import RunInterrupted, SegkitError

SYNTHETIC = {"format": "synthetic", "num_images": 6, "image_size": [64, 64], "max_objects": 12, "max_size": 30}


def timer(cfg, seconds):
    """An atto takes a second a step, larger models more."""
    factor = {"atto": 1, "pico": 2, "nano": 4, "tiny": 8}.get(cfg.model["backbone"].get("arch"), 1)
    return RunTimes(start=5, step=factor, evaluation=0.5, end=2, memory=1e8)


def suggested(data=None, minutes=40, **settings):
    settings = {"timer": timer, "memory": 16.0, "device": None, **settings}
    return suggest(SYNTHETIC if data is None else data, minutes, **settings)


@pytest.fixture(scope="module")
def found():
    """A suggestion with nothing set."""
    return suggested()


def test_the_same_each_time(found):
    first, second = found, suggested()
    assert first.yaml == second.yaml and first.config == second.config
    assert first.config.train.iterations == 2000 and first.times.step == 1


def test_the_yaml_is_all_there_is(tmp_path, found):
    (tmp_path / "suggested.yaml").write_text(found.yaml)
    loaded = segkit.load_config(tmp_path / "suggested.yaml")
    assert loaded == found.config and loaded.to_dict() == found.config.to_dict()
    # The whole configuration has the comments too, and loads to the same.
    (tmp_path / "whole.yaml").write_text(found.config.to_yaml())
    assert (
        segkit.load_config(tmp_path / "whole.yaml") == found.config and "# A step takes 1 s" in found.config.to_yaml()
    )


def test_every_key_has_a_reason(found):
    for suggestion in (found, suggested(Rectangles(scattered(9), masks=False), minutes=None)):
        tree = read_yaml(suggestion.yaml, "yaml").plain()
        for path in leaves(tree):
            own = [
                key
                for key in suggestion.config.comments
                if f"{path}.".startswith(f"{key}.") or key.startswith(f"{path}.")
            ]
            assert own or not _value(tree, path), path
        for key, _, reason in suggestion.choices:
            assert reason.strip() and reason.strip()[-1] in ".!?", key
        assert all(f"# {reason.split()[0]}" in suggestion.yaml for _, _, reason in suggestion.choices)


def _value(tree, path):
    for name in path.split("."):
        tree = tree[name]
    return tree


def test_models_that_are_suggested_can_be_built(found):
    model = segkit.build_model(found.config, 4)
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert len(model.eval().predict(list(images), [(64, 64)])) == 1


def test_larger_models_for_more_time_and_images(monkeypatch):
    def arch(images, minutes):
        monkeypatch.setattr(Rectangles, "__len__", lambda self: images)
        data = Rectangles(scattered(6))
        data.images = data.images * math.ceil(images / 6)
        data.sizes, data.levels = [(64, 64)] * images, [(20, 200)] * images
        data.image_ids = list(range(images))
        return suggested(data, minutes, max_images=6).config.model["backbone"]["arch"]

    assert arch(100, 10_000) == "atto"  # few images
    assert arch(1500, 40) == "atto"  # little time
    assert arch(1500, 3000) == "nano"
    assert arch(1500, 1200) == "pico"


def test_overrides():
    found = suggested(overrides=["data.batch_size=2", "train.iterations=7", "model.neck.out_channels=32"])
    cfg = found.config
    assert (cfg.data.batch_size, cfg.train.iterations, cfg.model["neck"]["out_channels"]) == (2, 7, 32)
    assert cfg.comments["train.iterations"] == "Set by the user." and "train.epochs" not in cfg.comments
    assert cfg.comments["data.batch_size"] == "Set by the user."
    with pytest.raises(SegkitError, match="out_chanels"):
        suggested(overrides=["model.neck.out_chanels=32"])
    epochs = suggested(minutes=None, overrides=["train.epochs=30"]).config.train
    assert (epochs.epochs, epochs.iterations) == (30, None)
    assert epochs.eval_period.count == 30 // 5  # a batch has the four training images, and there are five evaluations


def test_choices_follow_overrides():
    plain, given = (
        suggested(minutes=None),
        suggested(minutes=None, overrides=["data.batch_size=16", "train.device=cpu"]),
    )
    assert given.config.solver.optimizer["lr"] == 2 * plain.config.solver.optimizer["lr"]
    assert given.config.comments["solver.optimizer"].startswith("For 16 images a step")


def test_batch_shrinks_until_it_fits():
    tried = []

    def small_memory(cfg, seconds):
        tried.append(cfg.data.batch_size)
        if cfg.data.batch_size > 1:
            raise OutOfMemory
        return timer(cfg, seconds)

    found = suggested(timer=small_memory)
    assert tried == [4, 2, 1]
    assert found.config.data.batch_size == 1 and found.config.train.accumulate == 4

    def no_memory(cfg, seconds):
        raise OutOfMemory

    with pytest.raises(SegkitError, match="batch of 1 does not fit"):
        suggested(timer=no_memory)
    with pytest.raises(SegkitError, match="batch of 4 does not fit"):
        suggested(timer=small_memory, overrides=["data.batch_size=4"])


def test_a_batch_that_grows_is_measured_again():
    """The first estimate for a GPU is careful; the steps are timed with the batch that is used."""
    tried = []

    def watch(cfg, seconds):
        tried.append(cfg.data.batch_size)
        return RunTimes(5, cfg.data.batch_size / 4, 0.5, 1, memory=1e8 * cfg.data.batch_size)

    found = suggested(timer=watch, memory=0.05 * 1.5)
    assert tried == sorted(set(tried)) or tried == sorted(set(tried), reverse=True)
    assert found.config.data.batch_size == tried[-1] and found.times.step == tried[-1] / 4


def test_detections_are_limited_while_measuring():
    seen = []

    def watch(cfg, seconds):
        seen.append(cfg.model["roi_heads"]["detections_per_image"])
        return timer(cfg, seconds)

    data = Rectangles(scattered(9, objects=15))
    assert suggested(data, timer=watch).config.model["roi_heads"]["detections_per_image"] == 100
    assert seen == [30]  # twice the mean number of objects


def test_boxes_without_masks():
    cfg = suggested(Rectangles(scattered(9), masks=False)).config
    assert cfg.model["roi_heads"]["mask_head"] is None and list(cfg.evaluators[0]["iou_types"]) == ["bbox"]
    assert cfg.train.best_metric == "bbox/AP" and "overlap another box" in cfg.comments["model.roi_heads.name"]


def test_one_image_and_one_object():
    found = suggested(Rectangles([[(20, 20, 40, 40, 0)]]), minutes=None)
    cfg = found.config
    assert cfg.data.val is None and cfg.train.eval_period.count == 0
    assert "Too few objects to learn from: a (1 object), b (0 objects)." in cfg.comments["data.train"]


@pytest.mark.parametrize(
    "data, message",
    [
        (Rectangles([]), "no images"),
        (Rectangles([[], []]), "none of the 2 images has an object"),
        (Rectangles([[]], classes=[]), "no classes"),
    ],
)
def test_nothing_to_train_on(data, message):
    with pytest.raises(SegkitError, match=message):
        suggested(data)


def test_wrong_arguments():
    for settings, match in (({"minutes": 0}, "minutes"), ({"memory": -1.0}, "memory"), ({"device": "gpux"}, "device")):
        with pytest.raises(SegkitError, match=match):
            suggested(**settings)
    with pytest.raises(SegkitError, match="not enough"):
        suggested(minutes=0.1)


def test_weights_of_a_checkpoint_and_of_a_classifier(tmp_path, found):
    base = found.config
    torch.save({"model": {"x": torch.zeros(1)}, "config": base.to_dict(), "classes": ["cell"]}, tmp_path / "a.pth")
    cfg = suggested(weights=str(tmp_path / "a.pth")).config
    assert cfg.train.init_weights == str(tmp_path / "a.pth") and cfg.model["neck"] == base.model["neck"]
    assert cfg.solver.optimizer["lr"] < 1e-3 and "cell" in cfg.comments["model"]
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), tmp_path / "r.pth")
    cfg = suggested(weights=str(tmp_path / "r.pth")).config
    assert cfg.model["backbone"]["name"] == "ResNet" and cfg.model["backbone"]["arch"] == 18
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(SegkitError, match="neither a checkpoint"):
        suggested(weights=str(tmp_path / "x.pth"))
    with pytest.raises(SegkitError, match="torchvision's detection"):
        suggested(weights="MaskRCNN_ResNet50_FPN_Weights.COCO_V1")


def test_public_function_writes_a_file(tmp_path):
    cfg = segkit.suggest_config(SYNTHETIC, memory=16, output=tmp_path / "new" / "s.yaml", overrides={"train.seed": 3})
    assert segkit.load_config(tmp_path / "new" / "s.yaml") == cfg and cfg.train.seed == 3
    (tmp_path / "file").write_text("")
    with pytest.raises(SegkitError, match="cannot be written"):
        segkit.suggest_config(SYNTHETIC, memory=16, output=tmp_path / "file" / "s.yaml")


def test_step_clock():
    class Trainer:
        device = torch.device("cpu")
        stopped = False

        def stop(self):
            self.stopped = True

    clock, trainer = StepClock(0.0), Trainer()
    for _ in range(5):
        assert not trainer.stopped
        clock.after_step(trainer)
    assert trainer.stopped
    clock.ends = [0.0, 5.0, 6.0, 7.0]
    assert clock.step == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Terminated])
def test_a_measurement_that_is_interrupted_leaves_nothing_to_resume(monkeypatch, kind, found):
    folders = []

    def interrupted(cfg, *_):
        folders.append(Path(cfg.output_dir))
        if kind is Terminated:
            os.kill(os.getpid(), signal.SIGTERM)
        raise RunInterrupted(signal.SIGINT)

    monkeypatch.setattr(timing, "_measure", interrupted)
    with pytest.raises(KeyboardInterrupt) as raised:
        timing.measure_run(found.config, 1.0)
    assert type(raised.value) is kind and not folders[0].exists()


def test_a_gpu(monkeypatch):
    monkeypatch.setattr(suggestions, "choose_device", lambda name, key: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    cfg = suggested(memory=100.0).config
    assert cfg.train.precision == "bf16" and cfg.data.batch_size == 16 and 2 <= cfg.data.num_workers <= 16
    assert cfg.model["roi_heads"]["mask_head"]["sampling_ratio"] == 2


class Broken(Rectangles):
    """Whose second image cannot be read."""

    def load(self, index):
        if index == 1:
            raise SegkitError("1.png: cannot be read")
        return super().load(index)


def test_images_that_cannot_be_read():
    cfg = suggested(Broken(scattered(9)), minutes=None).config
    assert cfg.data.unreadable == "skip" and "1 of 9 images" in cfg.comments["data.unreadable"]
    broken = Broken(scattered(9))
    broken.size = lambda index: broken.load(index).size
    with pytest.raises(SegkitError, match=r"1\.png: cannot be read .segkit dataset check"):
        suggested(broken, minutes=None)
