"""The model: its size, for the number of images and the time at hand, and its heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TOUCHING = 0.1  # share of touching objects from which boxes are refined in stages


@dataclass(frozen=True)
class ModelSize:
    """A backbone with heads of a width that suits it.

    Attributes:
        arch: of ConvNeXt.
        channels: of neck and mask head.
        fc_dim: of the box head's two layers.
        mask_convs: convolutions of the mask head.
        learning_rate: for training from scratch with AdamW.
        least_images: number of training images from which it is considered.
    """

    arch: str
    channels: int
    fc_dim: int
    mask_convs: int
    learning_rate: float
    least_images: int


SIZES = (
    ModelSize("atto", 64, 256, 2, 2e-3, 0),
    ModelSize("pico", 96, 384, 2, 1.5e-3, 200),
    ModelSize("nano", 128, 512, 4, 1e-3, 1000),
    ModelSize("tiny", 256, 1024, 4, 5e-4, 5000),
)


def backbone_spec(size: ModelSize, channels: int | None) -> tuple[dict[str, Any], str]:
    """The backbone's spec and the reason.

    Args:
        size: of the model.
        channels: of the images, if they are not RGB.
    """
    spec: dict[str, Any] = {"name": "ConvNeXt", "arch": size.arch, "layer_scale": 1.0}
    if channels is not None:
        spec["in_channels"] = channels
    return (
        spec,
        "Without pretrained weights a layer scale of 1 suits short trainings; the paper's 1e-6 suits 300 epochs.",
    )


def heads_spec(size: ModelSize, *, touching: float, masks: bool, quick: bool) -> list[tuple[str, Any, str]]:
    """Keys below ``model.roi_heads``, their values and reasons.

    Args:
        size: of the model.
        touching: share of the objects that touch or overlap another one.
        masks: whether there are masks to learn.
        quick: whether steps are expensive (no GPU).
    """
    head: dict[str, Any] = {"name": "FastRCNNHead", "fc_dims": [size.fc_dim, size.fc_dim]}
    mask: dict[str, Any] = {"name": "FCNMaskHead", "conv_dims": [size.channels] * size.mask_convs}
    why = f"Layers of {size.fc_dim}, which suit a neck of {size.channels} channels."
    if quick:
        head["sampling_ratio"] = mask["sampling_ratio"] = 1
        why += " One sample in each bin (of RoIAlign) reads a quarter of the pixels of the usual two."
    keys: list[tuple[str, Any, str]] = []
    meeting = "touch or overlap another one" if masks else "overlap another box"
    share = f"{100 * touching:.0f} % of the objects {meeting}"
    if touching >= TOUCHING:
        heads = [{**head, "class_agnostic": True, "box_weights": weights} for weights in CASCADE_WEIGHTS]
        keys += [
            ("name", "CascadeROIHeads", f"{share}, which needs tight boxes: they are refined in three stages."),
            ("fg_iou_thresholds", list(CASCADE_THRESHOLDS), "Each stage trains on better boxes than the one before."),
            ("box_heads", heads, why),
        ]
    else:
        keys += [
            ("name", "StandardROIHeads", f"{share}: one stage of boxes is enough."),
            ("box_head", head, why),
        ]
    keys.append(
        ("mask_head", mask, "As wide as the neck.")
        if masks
        else ("mask_head", None, "No object has a mask: boxes only.")
    )
    return keys


CASCADE_THRESHOLDS = (0.5, 0.6, 0.7)
CASCADE_WEIGHTS = ([10, 10, 5, 5], [20, 20, 10, 10], [30, 30, 15, 15])  # of the paper
