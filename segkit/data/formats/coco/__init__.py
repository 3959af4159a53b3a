"""The COCO format: one JSON of annotations, one folder of images.

=======================  ===================================================================
``dataset``              the data set
``recognition``          finds COCO files in a folder, and the images of each
``table``                the JSON as arrays: streamed and checked once, cached, read by image
``images``               checks the list of images
``categories``           matches the categories with the classes
``annotations``          checks the annotations one by one, and packs them
``box_checks``           boxes that are not XYWH in pixels, or not where the object is
``segmentation_errors``  what is wrong with an invalid segmentation
=======================  ===================================================================
"""

from segkit.data.formats.coco.dataset import Coco

__all__ = ["Coco"]
