"""The PASCAL VOC format: an XML file of boxes for each image, and masks as palette images."""

from segkit.data.formats.voc.dataset import Voc

__all__ = ["Voc"]
