"""Image files: read as 8-bit RGB or as stored, measured, written, and listed in a folder.

==================  =================================================================
``image_io``        the functions to call; which decoder reads which file
``image_reader``    image files as the tensors that a model gets
``image_file``      an open image file, read whole or by window
``channels``        the channels of a file by number and name, and the choice among them
``intensity``       from a file's numbers to uint8 or float 0..1
``image_cache``     decoded images in memory or on disk, shared by worker processes
``composite``       pictures of images of any number of channels
``tiff``            TIFF: which page is the image, and what its channels mean
``tiff_samples``    TIFF: the samples of a page, of any type, packing and compression
``pillow_decoder``  all other formats, with what Pillow would change undone or refused
``png16``           PNG of 16-bit colour
``stored_image``    an image as its file stores it, and its conversion to 8 bits
``listing``         which files of a folder are images
==================  =================================================================
"""

from segkit.utils.images.channels import ChannelImage
from segkit.utils.images.composite import composite
from segkit.utils.images.image_cache import ImageCache
from segkit.utils.images.image_file import ImageFile, Planes
from segkit.utils.images.image_io import (
    IMAGE_SUFFIXES,
    image_size,
    is_image_name,
    read_image,
    read_pixels,
    write_image,
)
from segkit.utils.images.image_reader import ImageReader
from segkit.utils.images.intensity import Limits, percentile_limits, percentiles
from segkit.utils.images.listing import ImageFiles, is_system_file
from segkit.utils.images.stored_image import scale_to_uint8

__all__ = [
    "IMAGE_SUFFIXES",
    "ChannelImage",
    "ImageCache",
    "ImageFile",
    "ImageFiles",
    "ImageReader",
    "Limits",
    "Planes",
    "composite",
    "image_size",
    "is_image_name",
    "is_system_file",
    "percentile_limits",
    "percentiles",
    "read_image",
    "read_pixels",
    "scale_to_uint8",
    "write_image",
]
