"""One image or many, from a checkpoint or a model, in the input's own pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import segkit
from segkit.inference.predictor import Predictor
from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError

OVERRIDES = ["data.test_transforms=[{name: Resize, size: [64, 64]}]", "model.roi_heads.detections_per_image=5"]


class FakeModel(nn.Module):
    """Finds one object a row of brightness: its score is the image's mean, its box the image's lower right half."""

    num_classes = 2

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.calls = []

    def predict(self, images, output_sizes=None):
        self.calls.append([tuple(image.shape[1:]) for image in images])
        assert all(image.dtype == torch.uint8 for image in images) and not self.training
        found = []
        for image, size in zip(images, output_sizes, strict=True):
            h, w = image.shape[1:]
            score = image.float().mean() / 255
            boxes = torch.tensor([[w / 2, h / 2, w, h], [0, 0, 1, 1]])
            scores, labels = torch.stack([score, score / 2]), torch.tensor([1, 0])
            found.append(Detections(boxes, scores, labels, torch.ones(2, 4, 4), (h, w)).resized(size))
        return found


@pytest.fixture(scope="module")
def cfg():
    return segkit.load_config("segkit://quickstart.yaml", OVERRIDES)


@pytest.fixture(scope="module")
def checkpoint(cfg, tmp_path_factory):
    model = segkit.build_model(cfg, 4)
    about = {"config": cfg.to_dict(), "classes": ["class1", "class2", "class3", "class7"], "iteration": 1}
    path = tmp_path_factory.mktemp("run") / "model_final.pth"
    torch.save({"model": model.state_dict(), "category_ids": [1, 2, 3, 7], **about}, path)
    return path


def image(value, size=(20, 30)):
    return np.full((*size, 3), value, np.uint8)


def make(cfg, **kwargs):
    return Predictor(cfg, model=FakeModel(), **kwargs)


def test_one_image_in_its_own_size(cfg):
    predictor = make(cfg)
    found = predictor(image(255))
    assert isinstance(found, Detections) and found.size == (20, 30)
    assert predictor.model.calls == [[(64, 64)]]  # the test transforms were applied
    assert torch.allclose(found.boxes[0], torch.tensor([15.0, 10.0, 30.0, 20.0]))
    assert predictor.classes == ["class1", "class2"] and predictor.category_ids == [1, 2]
    found.boxes[0, 0] += 1  # plain tensors, not inference tensors


def test_many_images(cfg):
    predictor = make(cfg, batch_size=2, score_threshold=0.0)
    images = [image(255), image(100, (9, 9)), torch.zeros(3, 5, 6, dtype=torch.uint8)]
    found = predictor(images)
    assert isinstance(found, list) and [d.size for d in found] == [(20, 30), (9, 9), (5, 6)]
    assert [len(c) for c in predictor.model.calls] == [2, 1]
    assert isinstance(predictor(tuple(images)), list) and predictor([]) == []


def test_an_iterator_is_read_as_it_is_used(cfg):
    predictor, read = make(cfg, score_threshold=0.0), []

    def images():
        for value in (255, 200, 100):
            read.append(value)
            yield image(value)

    stream = predictor(images())
    assert read == [] and next(stream).size == (20, 30) and read == [255]
    assert len(list(stream)) == 2
    assert len(list(predictor(images(), batch_size=3))) == 3 and len(predictor.model.calls[-1]) == 3


@pytest.mark.parametrize(("threshold", "counts"), [(None, [2, 1, 0]), (0.0, [2, 2, 2]), (0.9, [1, 0, 0])])
def test_score_threshold(cfg, threshold, counts):
    found = make(cfg, score_threshold=threshold)([image(255), image(200), image(100)])
    assert [len(d) for d in found] == counts


def test_the_threshold_can_be_changed(cfg):
    predictor = make(cfg, score_threshold=1.0)
    assert len(predictor(image(0))) == 0
    predictor.score_threshold = np.float32(0.0)
    assert len(predictor(image(0))) > 0
    assert set(predictor.thresholds.values()) == {0.0}
    with pytest.raises(SegkitError, match=r"number in 0\.\.1, best or best_overall, not 2"):
        predictor.score_threshold = 2
    assert predictor.score_threshold == 0.0


def test_a_checkpoint_alone_is_enough(cfg, checkpoint):
    predictor = segkit.Predictor(checkpoint, score_threshold=0.0, device="cpu")
    assert predictor.classes[3] == "class7" and predictor.category_ids == [1, 2, 3, 7]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    found = predictor(picture)
    assert found.size == (40, 50) and 0 < len(found) <= 5
    also = Predictor(cfg, weights=str(checkpoint), score_threshold=0.0, device="cpu")(picture)
    assert torch.equal(found.boxes, also.boxes) and torch.equal(found.mask_probs, also.mask_probs)
    loaded = Predictor.load(str(checkpoint), overrides=["predict.score_threshold=0.75"], device="cpu")
    assert loaded.score_threshold == 0.75


def test_a_checkpoint_is_read_once(cfg, checkpoint, monkeypatch):
    reads, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: reads.append(args) or load(*args, **kwargs))
    for make_one in (Predictor, lambda path, device: Predictor(cfg, weights=path, device=device), Predictor.load):
        reads.clear()
        make_one(str(checkpoint), device="cpu")
        assert len(reads) == 1


def test_overrides_change_the_checkpoints_configuration(checkpoint):
    picture = image(0)
    picture[5:15, 8:20] = 200
    given = ["model.roi_heads.score_threshold=0.0", "model.roi_heads.detections_per_image", "3"]
    predictor = Predictor(checkpoint, score_threshold=0.0, device="cpu", overrides=given)
    heads = predictor.model.roi_heads
    assert (heads.score_threshold, heads.detections_per_image) == (0.0, 3) and len(predictor(picture)) == 3
    assert predictor.cfg.model["roi_heads"]["detections_per_image"] == 3
    assert len(Predictor(checkpoint, score_threshold=0.0, device="cpu")(picture)) == 5  # the checkpoint's own


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.roi_heads.score_treshold=0.3"], "did you mean 'score_threshold'"),
        (["model.roi_heads.score_threshold=often"], r"model\.roi_heads\.score_threshold.*often"),
        (["data.classes=[x, y]"], "trained for the classes class1, .*, but data.classes says x, y"),
        ("model.roi_heads.score_threshold=0.3", r"overrides: expected a list, as \['KEY=VALUE'\]"),
    ],
)
def test_wrong_overrides(checkpoint, overrides, message):
    with pytest.raises(SegkitError, match=message):
        Predictor(checkpoint, device="cpu", overrides=overrides)


def test_the_random_state_does_not_move(cfg):
    predictor, state = make(cfg), torch.get_rng_state()
    predictor(image(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_threshold_below_the_models_is_a_warning(cfg, checkpoint, caplog):
    Predictor(checkpoint, score_threshold=0.01, device="cpu")
    assert "score_threshold 0.01 has no effect below 0.05" in caplog.text


def test_mistakes(cfg, checkpoint, tmp_path):
    with pytest.raises(SegkitError, match=r"does not exist; did you mean 'model_final.pth'"):
        Predictor(checkpoint.parent / "model_finall.pth")
    with pytest.raises(SegkitError, match="is a configuration"):
        Predictor("a.yaml")
    with pytest.raises(SegkitError, match="either weights=PATH or model=MODULE"):
        Predictor(cfg)
    with pytest.raises(SegkitError, match=r"use Predictor\(cfg\.with_overrides"):
        make(cfg, overrides=["predict.score_threshold=0.1"])
    with pytest.raises(SegkitError, match="takes no weights or model"):
        Predictor(checkpoint, model=FakeModel())
    with pytest.raises(SegkitError, match=r"score_threshold is a number in 0\.\.1"):
        make(cfg, score_threshold=50)
    for wrong in (float("nan"), float("inf"), -0.1, 2, "0.5", True):
        with pytest.raises(SegkitError, match=r"score_threshold is a number in 0\.\.1"):
            make(cfg, score_threshold=wrong)
    for wrong in (0, -1, 1.5, "2", True, float("nan")):
        with pytest.raises(SegkitError, match="batch_size must be at least 1 and whole"):
            make(cfg, batch_size=wrong)
    with pytest.raises(SegkitError, match=r"image '.*' is a folder, not a file"):
        make(cfg)(tmp_path)
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "plain.pth")
    with pytest.raises(SegkitError, match="holds no configuration"):
        Predictor(tmp_path / "plain.pth")
    other = cfg.with_overrides(["data.classes=[x, y]"])
    with pytest.raises(SegkitError, match=r"trained for the classes class1, .*, but data.classes says x, y"):
        Predictor(other, weights=checkpoint)
    with pytest.raises(SegkitError, match="not a int"):
        make(cfg)(3)
    with pytest.raises(SegkitError, match="not a int"):
        make(cfg)([image(3), 3])


def test_a_network_that_outputs_nan_is_an_error_with_layer_and_file(cfg, tmp_path):
    model = segkit.build_model(cfg, 4)
    nn.init.constant_(model.proposal_generator.head.objectness.bias, float("nan"))
    predictor = Predictor(cfg, model=model)
    Image.fromarray(image(9)).save(tmp_path / "cells.png")
    with pytest.raises(SegkitError, match=r"^\S*cells\.png: the proposals.*proposal_generator\.head\.objectness"):
        predictor(tmp_path / "cells.png")
    with pytest.raises(SegkitError, match=r"^image 0 of its batch, image 1 of its batch: "):
        predictor([image(9), image(8)], batch_size=2)


def test_a_checkpoint_of_an_earlier_segkit_works_and_its_old_keys_are_refused_as_overrides(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    heads = content["config"]["model"]["roi_heads"]
    heads["foreground_iou"], heads["add_objects"] = heads.pop("fg_iou_threshold"), heads.pop("append_gt_boxes")
    torch.save(content, old := tmp_path / "old.pth")
    present = Predictor(checkpoint, device="cpu")
    assert Predictor(old, device="cpu").cfg.to_dict() == present.cfg.to_dict()
    with pytest.raises(SegkitError, match=r"foreground_iou.*'fg_iou_threshold'"):
        Predictor(old, device="cpu", overrides=["model.roi_heads.foreground_iou=0.6"])
