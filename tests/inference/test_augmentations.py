"""Test-time augmentation: views and their inverses, fusion, masks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import segkit
from segkit.data.transforms import geometry as moves
from segkit.inference.augmentations import AugmentedModel, Flips, QuarterTurns, Scales, TestAugmentation
from segkit.inference.augmentations.base import combined_views
from segkit.inference.augmentations.box_fusion import fuse_boxes
from segkit.inference.pipeline import build_pipeline
from segkit.structures.detections import Detections
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

SIZES = [(12, 18), (13, 17), (16, 16), (1, 5)]
DIHEDRAL = [Flips(), QuarterTurns()]


def sample_of(size, channels=3, dtype=torch.uint8):
    image = torch.randint(0, 256, (channels, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = image if dtype is torch.uint8 else image.to(dtype) / 255
    return Sample(image, Targets.empty(size), 0, "", size, None)


class PixelModel:
    """A detector whose answer depends on local pixels only: a box around each bright pixel, its value as the mask.

    Its masks have 2 x 2 cells, which differ, so that a wrong turn shows.
    """

    predicts_masks, detections_per_image = True, 100
    roi_heads = SimpleNamespace(nms_threshold=0.5, score_threshold=0.05)

    def predict_boxes(self, images):
        found = []
        for image in images:
            y, x = (image[0] > 200).nonzero().unbind(1)
            boxes = torch.stack([x, y, x + 1, y + 1], 1).float()
            scores = image[0][y, x].float() / 256
            order = scores.argsort(descending=True, stable=True)
            size = image.shape[1:]
            found.append(Detections(boxes[order], scores[order], torch.zeros(len(y)).long(), None, tuple(size)))
        return list(images), found

    def predict_mask_probs(self, features, boxes, labels):
        """The value of the nearest pixels left, right, above and below, in the cells of the mask."""
        probs = []
        for image, own in zip(features, boxes, strict=True):
            padded = torch.nn.functional.pad(image[0].float() / 256, (1, 1, 1, 1))
            x, y = own[:, 0].round().long(), own[:, 1].round().long()
            corners = [padded[y + dy, x + dx] for dy, dx in ((0, 0), (0, 2), (2, 0), (2, 2))]
            probs.append(torch.stack(corners, 1).reshape(-1, 2, 2))
        return probs

    def predict(self, images, output_sizes=None):
        features, found = self.predict_boxes(images)
        probs = self.predict_mask_probs(features, [one.boxes for one in found], [one.labels for one in found])
        return [
            Detections(one.boxes, one.scores, one.labels, mask, one.size)
            for one, mask in zip(found, probs, strict=True)
        ]


@pytest.mark.parametrize("size", SIZES[:3])  # a row of pixels looks the same in several
@pytest.mark.parametrize(
    ("augmentations", "count"),
    [
        ([Flips()], 2),
        ([Flips(vertical=True)], 4),
        ([Flips(horizontal=False, vertical=True)], 2),
        ([QuarterTurns()], 4),
        ([Flips(), QuarterTurns()], 8),
        ([Flips(vertical=True), QuarterTurns()], 8),  # of 16 combinations
        ([QuarterTurns(), Flips()], 8),
        ([], 1),
    ],
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_views_are_exact_and_occur_once(size, augmentations, count, dtype):
    sample = sample_of(size, dtype=dtype)
    views = combined_views(augmentations, sample)
    assert len(views) == count and views[0] is sample
    assert len({(tuple(view.image.shape), view.image.numpy().tobytes()) for view in views}) == count
    for view in views:
        geometry = view.known_geometry
        back = torch.rot90(view.image, -geometry.turns, (-2, -1))
        assert torch.equal(back.flip(-1) if geometry.mirrored else back, sample.image)
        boxes = torch.tensor([[0.0, 0, 1, 1], [2.25, 0.5, size[1] / 2, size[0]]])
        there = geometry.boxes_from_file(boxes).float()
        assert torch.equal(geometry.boxes_to_file(geometry.upright_boxes(there)).float(), boxes)


def test_scales():
    views = combined_views([Scales(factors=[0.5, 1, 2.0])], sample_of((10, 15)))
    assert [tuple(view.image.shape[1:]) for view in views] == [(10, 15), (5, 8), (20, 30)]
    with pytest.raises(SegkitError, match="no factors"):
        Scales(factors=[])
    with pytest.raises(SegkitError, match="neither horizontal nor vertical"):
        Flips(horizontal=False)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("augmentations", [[Flips()], [QuarterTurns()], DIHEDRAL])
def test_a_local_detector_answers_as_without(size, augmentations):
    """Boxes exactly, scores and mask probabilities but for the rounding of a mean."""
    images = [sample_of(size).image, sample_of(size).image.flip(1)]
    model = PixelModel()
    merged = AugmentedModel(model, augmentations).predict(images)
    for ours, plain in zip(merged, model.predict(images), strict=True):
        assert torch.equal(ours.boxes, plain.boxes) and torch.equal(ours.labels, plain.labels)
        torch.testing.assert_close(ours.scores, plain.scores, atol=1e-6, rtol=0)
        torch.testing.assert_close(ours.mask_probs, plain.mask_probs, atol=1e-6, rtol=0)


def test_sizes_of_the_output():
    image = sample_of((12, 18)).image
    (found,) = AugmentedModel(PixelModel(), [Flips()]).predict([image], [(24, 36)])
    (plain,) = PixelModel().predict([image])
    assert found.size == (24, 36) and torch.equal(found.boxes, plain.boxes * 2)


def test_images_of_a_batch_with_another_number_of_views():
    """A resize leaves an image of one pixel as it is."""
    images = [sample_of((1, 1)).image, sample_of((8, 8)).image]
    both = AugmentedModel(PixelModel(), [Scales(factors=[1.25])]).predict(images)
    alone = [AugmentedModel(PixelModel(), [Scales(factors=[1.25])]).predict([image])[0] for image in images]
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(both, alone, strict=True))


def brute_fusion(boxes, scores, labels, views, num_views, threshold):
    """Clusters of NMS, box by box."""

    def iou(a, b):
        width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
        areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
        return width * height / (sum(areas) - width * height)

    order = sorted(range(len(boxes)), key=lambda i: -scores[i])
    seeds = []
    for i in order:
        if all(labels[i] != labels[s] or iou(boxes[i], boxes[s]) <= threshold for s in seeds):
            seeds.append(i)
    members = {s: {} for s in seeds}
    for i in order:
        if i in members:
            members[i].setdefault(views[i], i)
    for i in order:
        if i not in members:
            own = max((s for s in seeds if labels[s] == labels[i]), key=lambda s: iou(boxes[i], boxes[s]))
            present = members[own].get(views[i])
            if present is None or scores[present] < scores[i]:
                members[own][views[i]] = i
    fused = []
    for s, of_view in members.items():
        chosen = list(of_view.values())
        weights = np.array([scores[i] for i in chosen], np.float64)
        box = (np.array([boxes[i] for i in chosen], np.float64) * weights[:, None]).sum(0) / weights.sum()
        fused.append((weights.sum() / num_views, labels[s], box))
    return sorted(fused, key=lambda one: -one[0])


@pytest.mark.parametrize("seed", range(6))
def test_fusion_equals_brute_force(seed):
    random = np.random.default_rng(seed)
    centres = random.uniform(10, 90, (6, 2))
    corner = centres[random.integers(0, 6, 40)] + random.normal(0, 2, (40, 2))
    boxes = np.concatenate([corner - 8, corner + 8], 1).astype(np.float32)
    scores = random.permutation(np.linspace(0.05, 0.99, 40)).astype(np.float32)
    labels, views = random.integers(0, 2, 40), random.integers(0, 4, 40)
    found = fuse_boxes(*map(torch.from_numpy, (boxes, scores, labels, views)), num_views=4, iou_threshold=0.5)
    expected = brute_fusion(boxes.tolist(), scores.tolist(), labels.tolist(), views.tolist(), 4, 0.5)
    np.testing.assert_allclose(found[1].numpy(), [one[0] for one in expected], atol=1e-6)
    np.testing.assert_allclose(found[0].numpy(), [one[2] for one in expected], atol=1e-3)
    assert found[2].tolist() == [one[1] for one in expected]


def test_no_boxes_in_any_view():
    empty = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), torch.zeros(0).long()
    assert [len(part) for part in fuse_boxes(*empty, num_views=2, iou_threshold=0.5)] == [0, 0, 0]
    dark = torch.zeros(3, 9, 9, dtype=torch.uint8)
    (found,) = AugmentedModel(PixelModel(), DIHEDRAL).predict([dark])
    assert len(found) == 0 and found.mask_probs.shape == (0, 2, 2)


def test_boxes_without_area_or_score_spoil_no_other():
    boxes = torch.tensor([[5.0, 5, 5, 5], [0, 0, 9, 9], [5, 5, 5, 5], [0, 0, 9, 9], [20, 20, 29, 29], [7, 3, 7, 9]])
    scores, views = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.0, 0.5]), torch.tensor([0, 0, 1, 1, 0, 1])
    fused, fused_scores, _ = fuse_boxes(boxes, scores, torch.zeros(6).long(), views, num_views=2, iou_threshold=0.5)
    assert torch.isfinite(fused).all() and torch.isfinite(fused_scores).all()
    whole = fused.eq(torch.tensor([0.0, 0, 9, 9])).all(1)
    assert fused_scores[whole].tolist() == pytest.approx([0.7])
    assert fused_scores[fused.eq(torch.tensor([20.0, 20, 29, 29])).all(1)].tolist() == pytest.approx([0], abs=1e-20)


def test_a_model_without_masks_and_a_wrong_number_of_output_sizes():
    class Boxes(PixelModel):
        predicts_masks = False

    image = sample_of((12, 18)).image
    (found,) = (augmented := AugmentedModel(Boxes(), DIHEDRAL)).predict([image])
    assert found.mask_probs is None and torch.equal(found.boxes, Boxes().predict([image])[0].boxes)
    with pytest.raises(SegkitError, match="2 output sizes for 1 images"):
        augmented.predict([image], [(1, 1), (2, 2)])


def test_an_object_that_one_of_two_views_shows_has_half_its_score():
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 20, 30, 30], [20, 20, 30, 31]])
    scores, labels, views = torch.tensor([0.8, 0.9, 0.7]), torch.zeros(3).long(), torch.tensor([0, 0, 1])
    fused, fused_scores, _ = fuse_boxes(boxes, scores, labels, views, num_views=2, iou_threshold=0.5)
    assert fused_scores.tolist() == pytest.approx([0.8, 0.4]) and fused[1].tolist() == boxes[0].tolist()


@pytest.fixture(scope="module")
def trained():
    """A small model whose weights are random, with a score threshold that leaves detections."""
    cfg = segkit.load_config(
        "segkit://quickstart.yaml",
        ["predict.augmentations=[{name: Flips}]", "model.roi_heads.score_threshold=0.1", "data.classes=[a, b]"],
    )
    torch.manual_seed(0)
    return cfg, segkit.build_model(cfg, 2).eval()


def test_a_real_model_equals_the_mean_of_its_views(trained):
    """The masks of the fused boxes, predicted in the image and in its mirror image one by one."""
    cfg, model = trained
    image = sample_of((64, 96)).image
    merged = build_pipeline(cfg, model).model.predict([image])[0]
    assert len(merged) > 0
    total = 0
    for mirrored in (False, True):
        features, _ = model.predict_boxes([image.flip(-1) if mirrored else image])
        boxes = merged.boxes.clone()
        if mirrored:
            boxes[:, 0], boxes[:, 2] = 96 - merged.boxes[:, 2], 96 - merged.boxes[:, 0]
        probs = model.predict_mask_probs(features, [boxes], [merged.labels])[0]
        total = total + (probs.flip(-1) if mirrored else probs)
    torch.testing.assert_close(merged.mask_probs, total / 2)


def test_boxes_and_masks_in_two_steps_are_those_of_predict(trained):
    _, model = trained
    image = sample_of((64, 96)).image
    (whole,) = model.predict([image])
    features, (boxes,) = model.predict_boxes([image])
    assert (
        boxes.mask_probs is None and torch.equal(boxes.boxes, whole.boxes) and torch.equal(boxes.scores, whole.scores)
    )
    (probs,) = model.predict_mask_probs(features, [boxes.boxes], [boxes.labels])
    assert torch.equal(probs, whole.mask_probs)


def test_tiles_and_augmentations_together(trained):
    cfg, model = trained
    pipeline = build_pipeline(cfg.with_overrides(["predict.tile=48", "predict.overlap=16"]), model)
    image = sample_of((64, 96))
    assert pipeline.replaces_model and isinstance(pipeline.model, AugmentedModel)
    (found,) = pipeline.predict([image])
    assert found.size == (64, 96)


def test_a_model_that_cannot_be_augmented(trained):
    cfg, _ = trained

    class Own(torch.nn.Module):
        def predict(self, images, output_sizes=None):
            return []

    with pytest.raises(SegkitError, match="Own has no predict_boxes, predict_mask_probs, predicts_masks"):
        build_pipeline(cfg, Own())
    Own.predict_boxes = PixelModel.predict_boxes
    with pytest.raises(SegkitError, match="Own has no predict_mask_probs, predicts_masks, detections_per_image,"):
        build_pipeline(cfg, Own())
    with pytest.raises(SegkitError, match="did you mean 'Flips'"):
        build_pipeline(cfg.with_overrides(["predict.augmentations=[{name: Flip}]"]), Own())


def test_an_augmentation_of_ones_own():
    """The image itself is always a view; views that cannot be undone are refused."""

    class Own(TestAugmentation):
        def __init__(self, change):
            self.change = change

        def views(self):
            return [self.change]

    sample = sample_of((12, 18))
    views = combined_views([Own(moves.vflip)], sample)
    assert len(views) == 2 and views[0] is sample and torch.equal(views[1].image, sample.image.flip(-2))
    with pytest.raises(SegkitError, match=r"Own has no exact inverse \(a crop\)"):
        combined_views([Own(lambda one: moves.crop(one, (0, 0, 9, 12)))], sample)
