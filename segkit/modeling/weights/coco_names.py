"""Names of COCO's categories, which other frameworks' weight files do not contain."""

from __future__ import annotations


def coco_names() -> list[str]:
    """Names of COCO's category ids 0 to 90: the background first, unused ids "N/A"."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    return list(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])


def coco_80() -> list[str]:
    """Names of the 80 categories in use, in the order of their ids."""
    return [name for name in coco_names()[1:] if name != "N/A"]
