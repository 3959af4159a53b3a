"""The names of COCO's categories, which other frameworks' files do not hold."""

from __future__ import annotations


def coco_names() -> list[str]:
    """COCO's 91 category numbers as torchvision has them: the background first, unused ones "N/A"."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    return list(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])


def coco_80() -> list[str]:
    """The 80 categories in use, in the order of their numbers."""
    return [name for name in coco_names()[1:] if name != "N/A"]
