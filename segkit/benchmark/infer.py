"""Part ``infer``: from images to masks as COCO's RLE, segkit against torchvision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from segkit.benchmark.comparison import box_modules, build_side, compare
from segkit.benchmark.models import chosen_device
from segkit.benchmark.options import Options
from segkit.benchmark.report import PEER, Report
from segkit.benchmark.scene import make_batch
from segkit.benchmark.sides import Side
from segkit.engine.amp import autocast

DEFAULTS: dict[str, Any] = {"batch": 1, "objects": 100, "size": (800, 1216), "runs": 5}
NOTES = ["a step: the images from the host's memory to the device, detection, masks at the images' size as COCO's RLE"]
PEER_NOTES = [
    "torchvision: its own pasting, probabilities above 0.5, pycocotools' encoder; segkit: Detections.to_rle",
    "weights are random, the same on both sides; the bias of the background is set so that each image has the "
    "selected number of detections; random masks have more runs than real ones",
]


PEER_LAYERS = {
    "objectness": "rpn.head.cls_logits",
    "deltas": "rpn.head.bbox_pred",
    "classes": "roi_heads.box_predictor.cls_score",
    "boxes": "roi_heads.box_predictor.bbox_pred",
    "masks": "roi_heads.mask_predictor.mask_fcn_logits",
}
OWN_LAYERS = {
    "objectness": "proposal_generator.head.objectness",
    "deltas": "proposal_generator.head.deltas",
    "classes": "roi_heads.box_head.classifier",
    "boxes": "roi_heads.box_head.deltas",
    "masks": "roi_heads.mask_head.predictor",
}


def run(options: Options) -> Report:
    """Runs the measurements of this part, which its notes describe."""
    options = options.filled(**DEFAULTS)
    situation = (
        f"{options.config_file}, {options.batch} x {options.size[0]} x {options.size[1]}, "  # type: ignore[index]
        f"{options.objects} detections an image, {options.precision}"
    )
    report = compare("infer", options, make_side, situation=situation, optimizer=False, shape=shape_weights)
    found = next(row.values for row in report.rows if row.work == "detections")
    report.notes += NOTES + (PEER_NOTES if PEER in found else [])
    if set(found.values()) != {(options.batch or 1) * (options.objects or 1)}:
        report.notes.append("there are fewer detections than selected; see the table")
    return report


def make_side(options: Options, name: str, folder: Path) -> Side:
    """One side with its model and inputs."""
    device = chosen_device(options)
    model = build_side(options, name, folder).eval()
    limit = options.objects or 1
    if name == PEER:
        model.roi_heads.detections_per_img = limit
    else:
        model.roi_heads.detections_per_image = limit
    images: Sequence[Tensor] = make_batch(options.batch or 1, 1, options.size or (0, 0), 1).images
    if name == PEER:
        images = [image.float() / 255 for image in images]
    if device.type == "cuda":
        images = [image.pin_memory() for image in images]
    predict = peer_predict if name == PEER else own_predict

    def step() -> dict[str, float]:
        moved = [image.to(device, non_blocking=True) for image in images]
        with torch.inference_mode():
            found = predict(model, moved, lambda: autocast(options.precision, device))
        return {
            "detections": sum(len(image) for image in found),
            "bytes of RLE": sum(len(mask["counts"]) for image in found for mask in image),
        }

    return Side(name, step, box_modules(model, name))


def own_predict(model: Any, images: Sequence[Tensor], context: Callable[[], Any]) -> list[list[dict[str, Any]]]:
    """RLE of each image's masks."""
    with context():
        detections = model.predict(images)
    return [d.to_rle() if d.mask_probs is not None else [] for d in detections]


def peer_predict(model: nn.Module, images: list[Tensor], context: Callable[[], Any]) -> list[list[dict[str, Any]]]:
    """RLE of each image's masks."""
    with context():
        results = model(images)
    encoded = []
    for result in results:
        masks = (result["masks"][:, 0] > 0.5).to(torch.uint8).cpu().numpy()
        encoded.append(coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0))))
    return encoded


def shape_weights(model: Any, is_peer: bool, options: Options) -> None:
    """Scales random predictions so that each image has the selected number of detections.

    The background's bias is lowered until enough scores are above the threshold that ``options.objects`` of each image
    are left after NMS. Only box and mask heads with the usual layers are adapted.
    """
    torch.manual_seed(1)
    heads, count_per_image = model.roi_heads, options.objects or 1
    names, background = (PEER_LAYERS, 0) if is_peer else (OWN_LAYERS, model.num_classes)
    layers = {name: _attribute(model, path) for name, path in names.items()}
    if any(layers[name] is None for name in ("objectness", "deltas", "classes", "boxes")):
        return
    for name, std in (("objectness", 0.1), ("deltas", 0.02), ("classes", 0.3), ("boxes", 0.05), ("masks", 0.1)):
        if layers[name] is not None:
            nn.init.normal_(layers[name].weight, std=std)
    setattr(heads, "detections_per_img" if is_peer else "detections_per_image", count_per_image)
    threshold = heads.score_thresh if is_peer else heads.score_threshold
    images = make_batch(options.batch or 1, 1, options.size or (0, 0), 1).images
    if is_peer:
        images = [image.float() / 255 for image in images]
    predict = model.eval() if is_peer else model.eval().predict
    logits: list[Tensor] = []
    handle = layers["classes"].register_forward_hook(lambda module, args, output: logits.append(output.float()))
    try:
        for factor in (0, 3, 10, 30, 100):  # the first time only to read the logits
            if factor:
                count = factor * count_per_image * len(images)
                shift = background_shift(logits[-1], background, threshold, count)
                layers["classes"].bias.data[background] += shift
            with torch.inference_mode():
                found = predict(images)
            if factor and min(len(f["boxes"]) if is_peer else len(f) for f in found) >= count_per_image:
                break
    finally:
        handle.remove()


def _attribute(model: nn.Module, path: str) -> Any:
    """The submodule, or None."""
    return dict(model.named_modules()).get(path)


def background_shift(logits: Tensor, background: int, threshold: float, count: int) -> float:
    """The change of the background's logit for ``count`` object scores above ``threshold``."""
    low, high = -50.0, 50.0
    others = [k for k in range(logits.shape[1]) if k != background]
    for _ in range(40):
        middle = (low + high) / 2
        shifted = logits.clone()
        shifted[:, background] += middle
        if int((shifted.softmax(dim=1)[:, others] > threshold).sum()) >= count:
            low = middle
        else:
            high = middle
    return low
