"""Detectron2's arithmetic, written out here, against the model that its weights are loaded into."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

import segkit
from segkit.modeling.layers.box_regression import apply_deltas
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.roi_align import assign_levels, multilevel_roi_align
from segkit.modeling.proposals.anchors import AnchorGenerator
from segkit.modeling.weights.loading import load_checkpoint, skip_pretrained

K = 3
PROPOSALS, DETECTIONS = 40, 20
MEAN_BGR = (103.53, 116.28, 123.675)
CONFIG = "segkit://coco/detectron2_mask_rcnn_r50_fpn.yaml"


@pytest.fixture(scope="module")
def model(detectron2_state, narrow, tmp_path_factory) -> nn.Module:
    path = tmp_path_factory.mktemp("weights") / "model_final.pkl"
    arrays = {name: tensor.numpy() for name, tensor in detectron2_state.items()}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}, protocol=4))
    overrides = [
        *narrow["mask"],
        f"model.proposal_generator.post_nms_top_k=[{PROPOSALS}, {PROPOSALS}]",
        f"model.roi_heads.detections_per_image={DETECTIONS}",
    ]
    with skip_pretrained():
        model = segkit.build_model(segkit.load_config(CONFIG, overrides), K).eval()
    report = load_checkpoint(model, str(path))
    assert report.kind == "Detectron2" and not report.missing and not report.unused and not report.reinitialized
    return model


class Reference:
    """Mask R-CNN as Detectron2 computes it, on images [3, H, W] in BGR, 0..255."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def conv(self, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), stride, padding)

    def conv_norm(self, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        x = self.conv(f"backbone.bottom_up.{name}", x, stride, padding)
        weight, bias, mean, var = (
            self.state[f"backbone.bottom_up.{name}.norm.{part}"][:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def batch(self, images: list[Tensor]) -> Tensor:
        """Mean off, then padded with zeros to a multiple of 32."""
        height, width = (math.ceil(max(image.shape[d] for image in images) / 32) * 32 for d in (1, 2))
        mean = torch.tensor(MEAN_BGR)[:, None, None]
        return torch.stack([F.pad(i - mean, (0, width - i.shape[2], 0, height - i.shape[1])) for i in images])

    def pyramid(self, images: list[Tensor]) -> list[Tensor]:
        x = F.relu(self.conv_norm("stem.conv1", self.batch(images), 2, 3))
        x = F.max_pool2d(x, 3, 2, 1)
        stages = []
        for stage, blocks in enumerate((3, 4, 6, 3), start=2):
            for block in range(blocks):
                name, stride = f"res{stage}.{block}", 2 if block == 0 and stage > 2 else 1
                out = F.relu(self.conv_norm(f"{name}.conv1", x, stride))  # the stride is here, in the 1x1
                out = F.relu(self.conv_norm(f"{name}.conv2", out, 1, 1))
                out = self.conv_norm(f"{name}.conv3", out)
                x = F.relu(out + (self.conv_norm(f"{name}.shortcut", x, stride) if block == 0 else x))
            stages.append(x)
        maps, above = [], None
        for stage in (5, 4, 3, 2):
            lateral = self.conv(f"backbone.fpn_lateral{stage}", stages[stage - 2])
            above = lateral if above is None else lateral + above.repeat_interleave(2, 2).repeat_interleave(2, 3)
            maps.insert(0, self.conv(f"backbone.fpn_output{stage}", above, 1, 1))
        return [*maps, maps[-1][:, :, ::2, ::2]]

    def proposals(self, maps: list[Tensor], image: int, size: tuple[int, int]) -> Tensor:
        kept = []
        for level, x in enumerate(maps):
            hidden = F.relu(self.conv("proposal_generator.rpn_head.conv", x[image : image + 1], 1, 1))
            logits = self.conv("proposal_generator.rpn_head.objectness_logits", hidden)[0]  # [3, h, w]
            deltas = self.conv("proposal_generator.rpn_head.anchor_deltas", hidden)[0].unflatten(0, (3, 4))
            boxes = decode(deltas.permute(2, 3, 0, 1).reshape(-1, 4), anchors(level, *x.shape[2:]), (1, 1, 1, 1))
            scores = logits.permute(1, 2, 0).reshape(-1)
            best = scores.argsort(descending=True)[:1000]
            boxes, scores = clip(boxes[best], size), scores[best]
            nonempty = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            boxes, scores = boxes[nonempty], scores[nonempty]
            chosen = nms(boxes, scores, 0.7)
            kept.append((boxes[chosen], scores[chosen]))
        boxes, scores = (torch.cat(parts) for parts in zip(*kept, strict=True))
        return boxes[scores.argsort(descending=True)[:PROPOSALS]]

    def pool(self, maps: list[Tensor], image: int, boxes: Tensor, side: int) -> Tensor:
        pooled = []
        for box in boxes:
            level = levels_of(box[None])[0] - 2
            rois = torch.cat([torch.tensor([float(image)]), box])[None]
            pooled.append(roi_align(maps[level], rois, side, 1 / (4 << level), sampling_ratio=0, aligned=True))
        return torch.cat(pooled)

    def detections(self, maps: list[Tensor], image: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
        proposals = self.proposals(maps, image, size)
        hidden = self.pool(maps, image, proposals, 7).flatten(1)
        for name in ("fc1", "fc2"):
            weight, bias = (self.state[f"roi_heads.box_head.{name}.{part}"] for part in ("weight", "bias"))
            hidden = F.relu(F.linear(hidden, weight, bias))
        logits, deltas = (
            F.linear(hidden, *(self.state[f"roi_heads.box_predictor.{name}.{part}"] for part in ("weight", "bias")))
            for name in ("cls_score", "bbox_pred")
        )
        scores = logits.softmax(dim=1)[:, :-1]  # the background is last
        found = []
        for label in range(K):
            boxes = clip(decode(deltas[:, 4 * label : 4 * label + 4], proposals, (10, 10, 5, 5)), size)
            likely = scores[:, label] > 0.05
            boxes, own = boxes[likely], scores[likely, label]
            chosen = nms(boxes, own, 0.5)
            found.append((boxes[chosen], own[chosen], torch.full((len(chosen),), label)))
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        best = scores.argsort(descending=True)[:DETECTIONS]
        boxes, scores, labels = boxes[best], scores[best], labels[best]
        x = self.pool(maps, image, boxes, 14)
        for i in range(1, 5):
            x = F.relu(self.conv(f"roi_heads.mask_head.mask_fcn{i}", x, 1, 1))
        deconv = (self.state[f"roi_heads.mask_head.deconv.{part}"] for part in ("weight", "bias"))
        x = self.conv("roi_heads.mask_head.predictor", F.relu(F.conv_transpose2d(x, *deconv, stride=2)))
        return boxes, scores, labels, x[torch.arange(len(x)), labels].sigmoid()


def anchors(level: int, height: int, width: int) -> Tensor:
    """Centred on the corner of each pixel, not rounded; rows, columns, then shapes."""
    stride, size, boxes = 4 << level, 32 << level, []
    for y in range(height):
        for x in range(width):
            for ratio in (0.5, 1.0, 2.0):
                w = math.sqrt(size**2 / ratio)
                h = ratio * w
                boxes.append([x * stride - w / 2, y * stride - h / 2, x * stride + w / 2, y * stride + h / 2])
    return torch.tensor(boxes)


def decode(deltas: Tensor, boxes: Tensor, weights: tuple[int, ...]) -> Tensor:
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    dx, dy, dw, dh = (deltas[:, i] / weights[i] for i in range(4))
    x = boxes[:, 0] + width / 2 + dx * width
    y = boxes[:, 1] + height / 2 + dy * height
    w = width * dw.clamp(max=math.log(1000 / 16)).exp()
    h = height * dh.clamp(max=math.log(1000 / 16)).exp()
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.stack([boxes[:, i].clamp(0, size[1 - i % 2]) for i in range(4)], dim=1)


def levels_of(boxes: Tensor) -> Tensor:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return torch.floor(4 + torch.log2(area.sqrt() / 224 + 2.2e-16)).clamp(2, 5).long()


@pytest.mark.parametrize("sizes", [[(64, 96)], [(75, 59), (64, 64), (50, 90)]], ids=["one", "three"])
def test_whole_model(model, detectron2_state, sizes):
    generator = torch.Generator().manual_seed(1)
    patches = [torch.rand(1, 3, 5, 5, generator=generator) for _ in sizes]
    images = [(F.interpolate(p, s)[0] * 255).round().to(torch.uint8) for p, s in zip(patches, sizes, strict=True)]
    reference = Reference(detectron2_state)
    with torch.no_grad():
        maps = reference.pyramid([image.flip(0).float() for image in images])
        batch = model.preprocess(images)
        for ours, theirs in zip(model.features(batch.tensor).values(), maps, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        assert maps[0].std() > 0.3
        for i, (found, size) in enumerate(zip(model.predict(images), sizes, strict=True)):
            boxes, scores, labels, masks = reference.detections(maps, i, size)
            assert len(found) == len(boxes) >= 10 and len(labels.unique()) >= 2
            assert torch.equal(found.labels, labels)
            torch.testing.assert_close(found.scores, scores, atol=1e-4, rtol=0)
            torch.testing.assert_close(found.boxes, boxes, atol=1e-4, rtol=1e-5)
            torch.testing.assert_close(found.mask_probs, masks, atol=1e-4, rtol=0)
            assert masks.std() > 0.02


def test_a_padded_image_has_the_same_result_alone(model, detectron2_state):
    """The padding is 0 after the mean is off, in both: not black, not the mean of the other order of channels."""
    image = torch.full((3, 32, 32), 200, dtype=torch.uint8)
    batch = model.preprocess([image, torch.zeros(3, 64, 64, dtype=torch.uint8)])
    theirs = Reference(detectron2_state).batch([image.float(), torch.zeros(3, 64, 64)])
    assert batch.tensor.shape == theirs.shape
    assert torch.equal(batch.tensor[0] == 0, theirs[0] == 0) and bool((theirs[0, :, 32:] == 0).all())
    stem = detectron2_state["backbone.bottom_up.stem.conv1.weight"]
    expected = F.conv2d(Reference(detectron2_state).batch([image.flip(0).float(), torch.zeros(3, 64, 64)]), stem)
    torch.testing.assert_close(F.conv2d(batch.tensor, model.backbone.conv1.weight), expected, atol=1e-4, rtol=1e-4)


def test_anchors():
    features = {f"p{level + 2}": FeatureSpec(4, 4 << level) for level in range(5)}
    grids = [(24, 40), (12, 20), (6, 10), (3, 5), (2, 3)]
    for level, ours in enumerate(AnchorGenerator(features)(grids)):
        torch.testing.assert_close(ours, anchors(level, *grids[level]), atol=1e-3, rtol=0)
        assert not torch.equal(ours, ours.round())


def test_levels():
    sides = torch.cat([torch.rand(2000) * 1000 + 1, 224 * 2.0 ** torch.arange(-4, 4), torch.tensor([0.0])])
    ratio = torch.rand(len(sides)) + 0.5
    ratio[-9:] = 1.0
    boxes = torch.stack([torch.zeros_like(sides), torch.zeros_like(sides), sides * ratio, sides / ratio], dim=1)
    assert torch.equal(assign_levels(boxes, [4, 8, 16, 32], 224.0, 16) + 2, levels_of(boxes))


def test_the_size_of_a_box_is_bounded():
    boxes, deltas = torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.tensor([[0.5, -0.5, 100.0, 30.0]])
    ours = apply_deltas(deltas, boxes, (1.0, 1.0, 1.0, 1.0))
    torch.testing.assert_close(ours, decode(deltas, boxes, (1, 1, 1, 1)))
    torch.testing.assert_close(ours[0, 2:] - ours[0, :2], torch.tensor([20.0, 40.0]) * 1000 / 16)


def test_pooling_samples_every_pixel():
    """RoIAlign with ratio 0 and half-pixel correction, sample by sample."""
    feature = torch.randn(1, 1, 20, 24)
    boxes = torch.tensor([[3.0, 5.0, 77.0, 70.0], [10.5, 2.25, 30.0, 20.0], [0.0, 0.0, 96.0, 80.0]])
    side, stride = 3, 4

    def value(y: float, x: float) -> float:
        if not (-1 <= y <= 20 and -1 <= x <= 24):
            return 0.0
        y, x = max(y, 0.0), max(x, 0.0)
        top, left = min(int(y), 19), min(int(x), 23)
        bottom, right = min(top + 1, 19), min(left + 1, 23)
        fy, fx = (y - top if top < 19 else 0.0), (x - left if left < 23 else 0.0)
        f = feature[0, 0]
        upper, lower = f[top, left] * (1 - fx) + f[top, right] * fx, f[bottom, left] * (1 - fx) + f[bottom, right] * fx
        return float(upper * (1 - fy) + lower * fy)

    expected = torch.zeros(len(boxes), 1, side, side)
    for n, box in enumerate(boxes.tolist()):
        x1, y1, x2, y2 = (v / stride - 0.5 for v in box)
        h, w = (y2 - y1) / side, (x2 - x1) / side
        samples_y, samples_x = math.ceil(h), math.ceil(w)
        for i in range(side):
            for j in range(side):
                values = [
                    value(y1 + (i + (a + 0.5) / samples_y) * h, x1 + (j + (b + 0.5) / samples_x) * w)
                    for a in range(samples_y)
                    for b in range(samples_x)
                ]
                expected[n, 0, i, j] = sum(values) / len(values)
    zeros = torch.zeros(len(boxes), dtype=torch.int64)
    pooled = multilevel_roi_align([feature], [stride], boxes, zeros, zeros, side, 0, True)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)


def test_box_losses_are_l1(model):
    """Absolute differences of the foreground deltas, divided by the number of sampled proposals."""
    head = model.roi_heads.box_head
    proposals = torch.tensor([[10.0, 10.0, 50.0, 40.0], [0.0, 0.0, 30.0, 30.0], [20.0, 20.0, 90.0, 60.0]])
    objects = torch.tensor([[12.0, 9.0, 54.0, 44.0], [0.0, 0.0, 0.0, 0.0], [20.0, 25.0, 80.0, 70.0]])
    labels = torch.tensor([2, K, 0])
    deltas = torch.randn(3, K, 4) * 0.1
    total = 0.0
    for i in (0, 2):
        (x1, y1, x2, y2), (a1, b1, a2, b2) = proposals[i].tolist(), objects[i].tolist()
        target_deltas = [
            10 * ((a1 + a2) / 2 - (x1 + x2) / 2) / (x2 - x1),
            10 * ((b1 + b2) / 2 - (y1 + y2) / 2) / (y2 - y1),
            5 * math.log((a2 - a1) / (x2 - x1)),
            5 * math.log((b2 - b1) / (y2 - y1)),
        ]
        total += sum(abs(deltas[i, labels[i], k].item() - target_deltas[k]) for k in range(4))
    losses = head.losses(torch.zeros(3, K + 1), deltas, proposals, labels, objects)
    assert losses["box"].item() == pytest.approx(total / 3, abs=1e-4)
    assert losses["cls"].item() == pytest.approx(math.log(K + 1), abs=1e-5)
    assert model.proposal_generator.smooth_l1_beta == 0
