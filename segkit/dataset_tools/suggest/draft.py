"""All choices of a suggestion, in the order of the YAML file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from segkit.dataset_tools.suggest import appearance, crowding, memory, model, scale, validation
from segkit.dataset_tools.suggest.choices import Choices
from segkit.dataset_tools.suggest.facts import Facts, objects_in_crop, rare_classes
from segkit.dataset_tools.suggest.pretrained import Pretrained
from segkit.dataset_tools.suggest.schedule import Schedule, warmup_of
from segkit.utils.errors import counted, first_few

CROPS = {"cpu": 256, "cuda": 512}  # usual sides of training crops
JITTER = 0.2
MEETING = 0.2  # IoU of boxes that counts as touching if there are no masks
MOST_WORKERS = 16


@dataclass(frozen=True)
class Draft:
    """What the later steps of a suggestion decide.

    Attributes:
        size: of the model, without pretrained weights.
        measured: a batch size and the bytes that it took; None: not measured.
        schedule: length of the training.
        pretrained: the weights to start from; None: from scratch.
        output_dir: folder of the run.
        device: ``train.device``; None: not set.
        most_batch: the largest batch that fits, once a larger one did not; None: none was too large.
        most_val_images: that can be evaluated in the time; None: any number.
        step_images: images of a step; None: as the batch that fits.
    """

    size: model.ModelSize
    schedule: Schedule
    measured: tuple[int, float] | None = None
    pretrained: Pretrained | None = None
    output_dir: str = "output/fit"
    device: str | None = None
    most_batch: int | None = None
    most_val_images: int | None = None
    step_images: int | None = None


def choose_all(facts: Facts, draft: Draft) -> Choices:
    """All choices for the data, the machine and the draft."""
    choices = Choices()
    choices.add("output_dir", draft.output_dir, "Log, checkpoints, metrics and pictures.")
    objects = facts.stats.objects
    most_pixels = memory.most_evaluated_pixels(facts.memory)
    chosen = scale.choose_scale(objects.side, objects.image, facts.stats.sizes, most_pixels)
    factors = chosen.factors(facts.stats.sizes)
    zoomed = facts.stats.sizes * factors[:, None]
    sides = objects.side * factors[objects.image]
    crop, crop_reason = scale.choose_crop(sides, zoomed, CROPS["cpu" if facts.quick else "cuda"])
    batch, accumulate, batch_reason = memory.choose_batch(
        crop, facts.memory, facts.device, draft.measured, draft.most_batch
    )
    _model(choices, facts, draft, sides, objects_in_crop(objects.counts, zoomed, crop))
    _data(choices, facts, draft)
    _transforms(choices, facts, chosen, (crop, crop_reason))
    choices.add("data.batch_size", batch, batch_reason)
    _sampler(choices, facts)
    _training(choices, facts, draft, draft.step_images or batch * accumulate)
    if accumulate > 1:
        choices.add(
            "train.accumulate", accumulate, f"Gradients of {accumulate} batches together: the memory holds {batch}."
        )
    types = ["bbox", "segm"] if facts.masks else ["bbox"]
    choices.add(
        "evaluators",
        [{"name": "COCO", "iou_types": types, "score_thresholds": [0.5]}, {"name": "PrecisionRecall"}],
        "COCO's AP of boxes and masks, also at a score of 0.5; the best score threshold." if facts.masks
        else "COCO's AP of boxes (no object has a mask), also at a score of 0.5; the best score threshold.",
    )  # fmt: skip
    return choices


def _model(choices: Choices, facts: Facts, draft: Draft, sides: np.ndarray, crowded: float) -> None:
    """The model's choices; ``crowded``: objects of a crowded training crop."""
    detections, why = crowding.choose_detections(facts.stats.counts)
    proposals, proposals_why = crowding.choose_proposals(detections, crowded, not facts.quick)
    rpn, heads = "model.proposal_generator", "model.roi_heads"
    if draft.pretrained is not None and draft.pretrained.model is not None:
        choices.add(
            "model", draft.pretrained.with_limits(detections, proposals, facts.channels), draft.pretrained.reason
        )
        choices.add("train.init_weights", draft.pretrained.weights, "The weights that were given.")
        return
    size = draft.size
    choices.add("model.name", "GeneralizedRCNN", "Mask R-CNN." if facts.masks else "Faster R-CNN.")
    spec, reason = model.backbone_spec(size, facts.channels)
    if draft.pretrained is not None:
        spec, reason = {**draft.pretrained.backbone, "in_channels": facts.channels or 3}, draft.pretrained.reason
    choices.add("model.backbone", spec, reason)
    choices.add(
        "model.neck",
        {"name": "FPN", "out_channels": size.channels, "norm": "gn"},
        f"{size.channels} channels{', narrow, since more steps in the same time help more' if size.channels < 256 else ''}. "
        "Group norm trains well with small batches.",
    )
    anchors, anchors_why = scale.choose_anchors(sides)
    ratios, ratios_why = scale.choose_aspect_ratios(facts.stats.objects.aspect)
    choices.add(f"{rpn}.name", "RPN", "The region proposal network.")
    choices.add(f"{rpn}.anchor_generator.name", "AnchorGenerator", "The boxes that the RPN starts from.")
    choices.add(f"{rpn}.anchor_generator.sizes", anchors, anchors_why)
    choices.add(f"{rpn}.anchor_generator.aspect_ratios", ratios, ratios_why)
    choices.add(f"{rpn}.head", {"name": "RPNHead"}, "One convolution, then objectness and deltas.")
    choices.add(f"{rpn}.pre_nms_top_k", proposals, f"In training and at test. {proposals_why}")
    choices.add(f"{rpn}.post_nms_top_k", proposals, "As many after NMS.")
    objects = facts.stats.objects
    meeting = objects.touching if facts.masks else objects.box_iou > MEETING
    keys = model.heads_spec(
        size,
        touching=float(meeting.mean()),
        masks=facts.masks,
        quick=facts.quick,
    )
    name, *others = keys
    choices.add(f"{heads}.name", name[1], name[2])
    sampled = 128 if facts.quick else 256
    choices.add(
        f"{heads}.batch_size_per_image", sampled, f"{sampled} proposals of a crop, a quarter of them foreground."
    )
    choices.add(f"{heads}.score_threshold", 0.05, "COCO's AP counts weak detections too.")
    choices.add(f"{heads}.detections_per_image", detections, why)
    for key, value, reason in others:
        choices.add(f"{heads}.{key}", value, reason)
    if facts.channels is not None:
        choices.add("model.pixel_mean", [0.5] * facts.channels, "One number a channel; measured when the run starts.")
        choices.add("model.pixel_std", [0.25] * facts.channels, "Likewise.")


def _data(choices: Choices, facts: Facts, draft: Draft) -> None:
    source, stats = facts.source, facts.stats
    rare = [f"{name} ({counted(count, 'object')})" for name, count in rare_classes(stats).items()]
    note = f" Too few objects to learn from: {first_few(rare)}." if rare else ""
    sampled = f" Measured on {stats.measured:,} of {stats.images:,} images." if stats.is_sample else ""
    choices.add(
        "data.train", dict(source.spec), f"{source.reason}. {counted(len(source.train), 'image')}.{sampled}{note}"
    )
    val, reason = validation.choose_validation(
        stats.images, source.val, facts.name_groups, draft.most_val_images, tiled=source.tiled
    )
    choices.add("data.val", val, reason)
    if source.partial.ignore_classes:
        names = first_few(source.partial.ignore_classes)
        choices.add(
            "data.ignore_classes",
            list(source.partial.ignore_classes),
            f"Regions and no objects, by the name of the category ({names}): nothing is learnt or evaluated there.",
        )
    if unreadable := stats.intensities.unreadable:
        read = unreadable + stats.intensities.images
        choices.add("data.unreadable", "skip", f"{unreadable} of {read} images that were looked at cannot be read.")
    if facts.channels is not None:
        choices.add("data.channels", "all", f"The images have {facts.channels} channels.")
        choices.add("data.measure_pixel_stats", True, "Mean and deviation of these channels are measured.")
    if not stats.intensities.is_8_bit:
        choices.add("data.intensity", *appearance.choose_intensity(stats.intensities))


def _transforms(choices: Choices, facts: Facts, chosen: scale.Scale, crop: tuple[int, str]) -> None:
    look = facts.stats.appearance
    orientation = appearance.judge_orientation(facts.stats)
    both: list[tuple[dict[str, Any], str]] = []
    if reason := appearance.mixed_polarity(look, orientation.free):
        both.append(({"name": "DarkBackground"}, reason))
    if facts.stats.intensities.is_8_bit and orientation.free and (reason := appearance.varied_exposure(look)):
        both.append(({"name": "PercentileContrast"}, reason))
    train, test = list(both), [(spec, "As in training.") for spec, _ in both]
    side, crop_reason = crop
    low, high = scale.LOW, scale.HIGH
    if chosen.edge is None:
        factors = {"min_scale": round(low * chosen.zoom, 2), "max_scale": round(high * chosen.zoom, 2)}
        train.append(({"name": "RandomScaledCrop", "size": side, **factors}, f"{chosen.reason} {crop_reason}"))
        if chosen.zoom != 1:
            factor = {"min_scale": chosen.zoom, "max_scale": chosen.zoom}
            test.append(({"name": "RandomScale", **factor}, "The middle of the training's factors."))
    else:
        edges = sorted({max(32, round(chosen.edge * f / 32) * 32) for f in np.geomspace(low, high, 5)})
        train.append(({"name": "ResizeShortestEdge", "sizes": edges}, chosen.reason))
        train.append(({"name": "RandomCrop", "size": side}, crop_reason))
        test.append(({"name": "ResizeShortestEdge", "sizes": [chosen.edge]}, "The middle of the training's sizes."))
    if orientation.free:
        train.append(({"name": "RandomHorizontalFlip", "p": 0.5}, orientation.reason))
        train.append(({"name": "RandomVerticalFlip", "p": 0.5}, "Likewise."))
        train.append(({"name": "RandomQuarterTurn", "p": 0.75}, "Likewise: all four orientations are equally likely."))
    else:
        train.append(({"name": "RandomHorizontalFlip", "p": 0.5}, f"{orientation.reason} Left and right are alike."))
    if facts.channels is None:
        jitter = dict.fromkeys(("brightness", "contrast", "saturation"), JITTER)
        train.append(({"name": "ColorJitter", **jitter}, "Light and stain vary in new images more than in these."))
    choices.add_list("data.train_transforms", train, "")
    choices.add_list("data.test_transforms", test, "" if test else "Images as they are.")


def _sampler(choices: Choices, facts: Facts) -> None:
    found = crowding.choose_sampler(facts.stats.class_images, facts.stats.measured, facts.stats.sizes)
    if found is not None:
        choices.add("data.sampler", *found)


def _training(choices: Choices, facts: Facts, draft: Draft, batch: int) -> None:
    schedule = draft.schedule
    if draft.pretrained is not None:
        rate, why = draft.pretrained.learning_rate, "Small, since the weights are trained already."
    else:
        rate = float(f"{draft.size.learning_rate * math.sqrt(batch / 4):.2g}")
        why = f"For {counted(batch, 'image')} a step, from scratch."
    choices.add("solver.optimizer", {"name": "AdamW", "lr": rate, "weight_decay": 2e-2}, why)
    choices.add(
        "solver.schedule",
        {"name": "Cosine", "end_lr": 1e-5, "step": "iteration", "warmup_iterations": warmup_of(schedule.iterations)},
        "A short warm-up, then it falls to almost 0 at the end.",
    )
    choices.add("solver.clip_norm", 3.0, "Keeps single large gradients from undoing what was learnt.")
    if draft.device is not None:
        choices.add("train.device", draft.device, "The device that was asked for.")
    if facts.bf16:
        choices.add("train.precision", "bf16", "Faster on this GPU; boxes and losses stay fp32.")
    if not facts.quick:
        workers = max(2, min(MOST_WORKERS, facts.cores))
        choices.add(
            "data.num_workers", workers, f"Processes that load images for the GPU; there are {facts.cores} cores."
        )
    choices.add("train.epochs", None, "The length is set in iterations.")
    choices.add("train.iterations", schedule.iterations, schedule.reason)
    choices.add("train.eval_period", schedule.eval_period, schedule.eval_reason)
    choices.add("train.checkpoint_period", schedule.checkpoint_period, "To resume an interrupted run.")
    if not facts.masks:
        choices.add("train.best_metric", "bbox/AP", "No object has a mask.")
