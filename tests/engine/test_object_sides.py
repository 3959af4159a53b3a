"""The sides of the training objects: measured, in checkpoints, and what ``predict.overlap: auto`` makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import segkit
from segkit.data.object_sides import MOST_IMAGES, MOST_OBJECTS, measured_object_sides
from segkit.engine.checkpoint import read_checkpoint
from segkit.evaluation import PrecisionRecall
from segkit.inference import TiledPredictor
from segkit.inference.predictor import Predictor
from segkit.structures.object_sides import ObjectSides, saved_object_sides
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError, UnreadableImage

SETTINGS = {
    "model.backbone": {"name": "TinyNet", "width": 8},
    "model.neck.out_channels": 16,
    "model.roi_heads.box_head.fc_dims": [32],
    "model.roi_heads.mask_head.conv_dims": [8],
    "data.num_workers": 0,
    "data.batch_size": 2,
    "data.train": {"format": "synthetic", "num_images": 4, "image_size": [96, 112]},
    "data.val": None,
    "train.iterations": 1,
    "train.device": "cpu",
    "predict.tile": 64,
}


class Images:
    """Image i has ``count`` objects of the sides 1, 2, ... and a crowd region; image 3 cannot be read."""

    def __init__(self, images: int, count: int) -> None:
        self.images, self.count, self.read = images, count, []

    def __len__(self) -> int:
        return self.images

    def targets(self, index: int) -> Targets:
        self.read.append(index)
        if index == 3:
            raise UnreadableImage("image 3")
        sides = torch.arange(1, self.count + 2).float()
        boxes = torch.stack([torch.zeros_like(sides), torch.zeros_like(sides), sides, sides / 2], 1)
        crowd = torch.arange(self.count + 1) == self.count
        return Targets(boxes, torch.zeros(self.count + 1, dtype=torch.long), None, crowd)


def test_a_quantile_of_the_longer_sides() -> None:
    data = Images(5, 200)
    assert measured_object_sides(data) == ObjectSides(199.0, 0.99, 800)
    assert sorted(data.read) == [0, 1, 2, 3, 4]


def test_few_images_are_read() -> None:
    many, empty = Images(1000, 300), Images(1000, 0)
    assert measured_object_sides(many).objects >= MOST_OBJECTS and len(many.read) <= 8
    assert measured_object_sides(empty) is None and len(empty.read) == MOST_IMAGES


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    segkit.train("segkit://quickstart.yaml", overrides={**SETTINGS, "output_dir": str(folder)})
    return folder


def test_checkpoints_hold_them_for_predictions_and_evaluations(run, caplog) -> None:
    path = run / "model_final.pth"
    sides = saved_object_sides(read_checkpoint(path))
    data = segkit.data.Synthetic(num_images=4, image_size=(96, 112))
    boxes = torch.cat([data.load(i).targets.boxes for i in range(4)])
    longer = (boxes[:, 2:] - boxes[:, :2]).amax(1).numpy()
    assert sides.objects == len(longer) and np.mean(longer <= sides.pixels) >= 0.99
    expected = min(32, int(np.ceil(sides.pixels)) + 1)
    assert Predictor(path).pipeline.overlap == expected
    assert TiledPredictor(path, tile=300).pipeline.overlap == int(np.ceil(sides.pixels)) + 1
    caplog.set_level("INFO")
    segkit.evaluate(path, data.subset([0]), evaluators=[PrecisionRecall(data.classes, 100, iou_type="bbox")])
    assert f"predict.overlap: auto is {expected} pixels" in caplog.text
    with pytest.raises(SegkitError, match=r"transforms.*predict\.tile.*data\.test_transforms"):
        segkit.evaluate(path, data, transforms=[])


def test_an_older_checkpoint_without_them(run, tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    content = torch.load(run / "model_final.pth", weights_only=True)
    del content["object_sides"]
    torch.save(content, tmp_path / "old.pth")
    assert Predictor(tmp_path / "old.pth").pipeline.overlap == 16
    assert "a quarter of the tile, because the checkpoint does not hold" in caplog.text
