"""Through any test transforms predictions are those of the file: in evaluation, in the Predictor and in pictures."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

import segkit
from segkit.data import build_test_loader, build_transforms
from segkit.data.formats.base import Dataset
from segkit.data.transforms import Compose, Transform, geometry
from segkit.engine import pictures
from segkit.engine.pictures import draw_pictures
from segkit.evaluation import CocoEvaluator, Evaluator, evaluate
from segkit.inference.predictor import Predictor
from segkit.structures import Detections, InstanceMasks, Sample, Targets

SIZE = (64, 90)
FLIP = {"name": "RandomHorizontalFlip", "p": 1.0}
UPSIDE_DOWN = {"name": "RandomVerticalFlip", "p": 1.0}
TURN = {"name": "RandomQuarterTurn", "p": 1.0}
LETTERBOX = {"name": "LargeScaleJitter", "size": [120, 100], "min_scale": 1.0, "max_scale": 1.0, "fill": 9}
SMALL = {"name": "LargeScaleJitter", "size": [150, 160], "min_scale": 0.8, "max_scale": 0.8}
RESIZE = {"name": "ResizeShortestEdge", "sizes": [97], "max_size": 140}
RANDOM = [{"name": "RandomHorizontalFlip"}, {"name": "RandomVerticalFlip"}, {"name": "RandomQuarterTurn"}]


class Rectangles(Dataset):
    """A red, a green and a blue rectangle, their labels in this order."""

    def __init__(self, images=5):
        self.classes, self.category_ids = ["a", "b", "c"], [1, 2, 3]
        self.image_ids = list(range(1, images + 1))

    def __len__(self):
        return len(self.image_ids)

    def label_counts(self, index):
        return {0: 1, 1: 1, 2: 1}

    def load(self, index):
        generator = torch.Generator().manual_seed(index)
        image, dense = torch.zeros(3, *SIZE, dtype=torch.uint8), torch.zeros(3, *SIZE, dtype=torch.bool)
        for label in range(3):
            x, y = 26 + 15 * label, 18 + int(torch.randint(0, 16, (), generator=generator))
            width, height = torch.randint(6, 12, (2,), generator=generator).tolist()
            dense[label, y : y + height, x : x + width] = True
            image[label, dense[label]] = 255
        masks = InstanceMasks.from_dense(dense)
        targets = Targets(masks.boxes(), torch.arange(3), masks)
        return Sample(image, targets, self.image_ids[index], f"{index}.png", SIZE)


class Oracle(nn.Module):
    """Finds what there is: the targets where it is given them, and the rectangles by their colours where it is not."""

    num_classes, classes = 3, ["a", "b", "c"]

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def predict_with_losses(self, images, targets, generator=None, output_sizes=None):
        found = []
        for image, objects, size in zip(images, targets, output_sizes, strict=True):
            probs = torch.ones(len(objects), 14, 14)
            scores = torch.linspace(0.9, 0.8, len(objects))
            at_image = Detections(objects.boxes, scores, objects.labels, probs, tuple(image.shape[1:]))
            found.append(at_image.resized(size))
        return found, {"none": torch.zeros(())}

    def predict(self, images, output_sizes):
        found = []
        for image, size in zip(images, output_sizes, strict=True):
            masks = image > 127
            boxes, labels = InstanceMasks.from_dense(masks).boxes(), masks.flatten(1).any(1).nonzero().flatten()
            probs, scores = torch.ones(len(labels), 14, 14), torch.linspace(0.9, 0.8, len(labels))
            found.append(Detections(boxes[labels], scores, labels, probs, tuple(image.shape[1:])).resized(size))
        return found


class Window(Transform):
    """A user's crop and padding, made of segkit's functions."""

    inversion = "recorded"

    def __call__(self, sample, generator):
        return geometry.pad(geometry.crop(sample, (25, 17, 75, 49)), (70, 60), 30)


PIPELINES = {
    "flip": [FLIP],
    "upside down": [UPSIDE_DOWN],
    "turn": [TURN],
    "random": RANDOM,
    "resized flip": [RESIZE, FLIP],
    "flip resized": [FLIP, UPSIDE_DOWN, {"name": "Resize", "size": [111, 70]}, TURN],
    "letterbox": [LETTERBOX],
    "padding": [SMALL, FLIP, TURN],
    "padding resized": [TURN, SMALL, {"name": "Resize", "size": 133}, *RANDOM, LETTERBOX],
    "colours": [{"name": "PercentileContrast"}, FLIP, {"name": "DarkBackground"}],
}


def transforms_of(name):
    if name == "window":
        return Compose([Window(), build_transforms([*RANDOM, RESIZE])])
    return build_transforms(PIPELINES[name])


@pytest.mark.parametrize("name", [*PIPELINES, "window"])
def test_an_oracle_is_perfect_through_any_pipeline(name, caplog):
    dataset = Rectangles()
    loader = build_test_loader(dataset, transforms_of(name), batch_size=2)
    evaluator = CocoEvaluator(dataset.classes, dataset.category_ids, 100)
    metrics = evaluate(Oracle(), loader, [evaluator], "cpu")
    assert metrics["bbox/AP"] == metrics["segm/AP"] == metrics["segm/AR"] == 1.0 and metrics["val/loss/total"] == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


class Everything(Evaluator):
    def reset(self):
        self.found = []

    def process(self, batch, detections):
        self.found += list(zip(batch.sizes, batch.annotations, detections, strict=True))

    def evaluate(self):
        return {}


def test_a_random_window_finds_what_it_shows():
    """Objects outside of it are missed, those inside are at their places in the file, and nothing is found elsewhere."""
    dataset, everything = Rectangles(), Everything()
    specs = [{"name": "RandomCrop", "size": [40, 45]}, FLIP]
    evaluate(Oracle(), build_test_loader(dataset, build_transforms(specs)), [everything], "cpu")
    whole = missed = 0
    for index, (size, known, found) in enumerate(everything.found):
        truth = dataset.load(index).targets
        assert size == found.size == SIZE and len(known) == 3
        masks = truth.masks.to_dense()[found.labels]
        assert not (found.masks.to_dense() & ~masks).any()
        whole += int((found.masks.to_dense() == masks).flatten(1).all(1).sum())
        missed += 3 - len(found)
    assert whole >= 3 and missed >= 1


@pytest.mark.parametrize("name", ["flip", "upside down", "turn", "random", "letterbox", "padding", "window"])
def test_the_predictor_and_pictures(name, tmp_path, monkeypatch):
    dataset, model = Rectangles(), Oracle()
    cfg = segkit.load_config("segkit://quickstart.yaml").with_values({"data.test_transforms": []})
    if name != "window":
        cfg = cfg.with_values({"data.test_transforms": PIPELINES[name]})
    predictor = Predictor(cfg, model=model, batch_size=2)
    if name == "window":
        predictor.transforms = build_test_loader(dataset, transforms_of(name))._loader.dataset.transforms
    drawn, draw = [], pictures.draw_detections
    monkeypatch.setattr(pictures, "draw_detections", lambda *args: drawn.append(args[1]) or draw(*args))
    loader = build_test_loader(dataset, transforms_of(name), batch_size=2)
    draw_pictures(model, loader, dataset.classes, 0.5, tmp_path, count=5, context=torch.no_grad())
    found = predictor([dataset.load(index).image for index in range(len(dataset))])
    tolerance = 1e-4 if name in ("flip", "upside down", "turn", "random") else 1.6  # where colours were interpolated
    for index, detections in enumerate(found):
        truth = dataset.load(index).targets
        for result in (detections, drawn[2 * index + 1]):
            assert result.size == SIZE and result.labels.tolist() == [0, 1, 2]
            assert torch.allclose(result.boxes, truth.boxes, atol=tolerance)
            if tolerance < 1:
                assert torch.equal(result.masks.to_dense(), truth.masks.to_dense())


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    cfg = segkit.load_config("segkit://quickstart.yaml", ["model.roi_heads.score_threshold=0.0"])
    return cfg, segkit.build_model(cfg, 4).eval()


MIRRORS = {
    "RandomHorizontalFlip": (lambda array: array[:, ::-1], lambda b, h, w: [w - b[2], b[1], w - b[0], b[3]]),
    "RandomVerticalFlip": (lambda array: array[::-1], lambda b, h, w: [b[0], h - b[3], b[2], h - b[1]]),
}


@pytest.mark.parametrize("name", MIRRORS)
@pytest.mark.parametrize("resize", [[], [RESIZE]])
def test_as_numpy_mirrors_the_mirrored_image(model, name, resize):
    """A real model's boxes, scores and masks, to the bit."""
    cfg, network = model
    picture = np.random.default_rng(0).integers(0, 256, (75, 101, 3), dtype=np.uint8)
    mirror, mirror_box = MIRRORS[name]
    plain = Predictor(cfg.with_values({"data.test_transforms": resize}), model=network, score_threshold=0.0)
    flipping = cfg.with_values({"data.test_transforms": [{"name": name, "p": 1.0}, *resize]})
    reference = plain(np.ascontiguousarray(mirror(picture)))
    found = Predictor(flipping, model=network, score_threshold=0.0)(picture)
    assert len(found) == len(reference) > 20 and torch.equal(found.scores, reference.scores)
    boxes = reference.boxes.numpy()
    expected = np.array([mirror_box(box, np.float32(75), np.float32(101)) for box in boxes])
    assert np.array_equal(found.boxes.numpy(), expected)
    masks = np.stack([mirror(mask) for mask in reference.masks.to_dense().numpy()])
    assert np.array_equal(found.masks.to_dense().numpy(), masks) and masks.any()
    assert found.to_rle() == found.masks.to_rle()


@pytest.mark.parametrize("seed", range(3))
def test_quarter_turns_as_numpy_turns(model, seed):
    cfg, network = model
    picture = np.random.default_rng(seed).integers(0, 256, (60, 91, 3), dtype=np.uint8)
    turns = next(
        k for k in range(4)
        if np.array_equal(np.rot90(picture, k).shape, _turned(picture, 0).shape)
        and np.array_equal(np.rot90(picture, k), _turned(picture, 0))
    )  # fmt: skip
    assert turns > 0
    plain = Predictor(cfg.with_values({"data.test_transforms": []}), model=network, score_threshold=0.0)
    reference = plain(np.ascontiguousarray(np.rot90(picture, turns)))
    turning = cfg.with_values({"data.test_transforms": [TURN]})
    found = Predictor(turning, model=network, score_threshold=0.0)(picture)
    masks = np.stack([np.rot90(mask, -turns) for mask in reference.masks.to_dense().numpy()])
    assert found.size == (60, 91) and np.array_equal(found.masks.to_dense().numpy(), masks)


def _turned(picture, seed):
    """As the Predictor's generator turns it."""
    image = torch.from_numpy(picture).permute(2, 0, 1)
    sample = Sample(image, Targets.empty(picture.shape[:2]), 0, "", picture.shape[:2])
    turned = build_transforms([TURN])(sample, torch.Generator().manual_seed(seed))
    return turned.image.permute(1, 2, 0).numpy()


def test_the_network_is_asked_at_the_files_size_for_whole_files():
    """A user's model gets the same arguments as before, unless the image is cropped or padded."""
    asked = []

    class Asked(Oracle):
        predict_with_losses = None

        def predict(self, images, output_sizes):
            asked.extend(output_sizes)
            return super().predict(images, output_sizes)

    dataset = Rectangles(1)
    for specs in ([], [RESIZE], [RESIZE, {"name": "Resize", "size": 80}], [FLIP, FLIP], [FLIP, RESIZE], [LETTERBOX]):
        evaluate(Asked(), build_test_loader(dataset, build_transforms(specs)), [Everything()], "cpu")
    assert asked == [SIZE, SIZE, SIZE, SIZE, (97, 136), (120, 100)]
