"""Image files: read as 8-bit RGB or as stored, measured, written, and listed in a folder.

==================  =================================================================
``image_io``        the functions to call; which decoder reads which file
``image_reader``    image files as the tensors that a model gets
``image_file``      an open image file, read whole or by window
``tiff``            TIFF: which page is the image, and what its channels mean
``tiff_samples``    TIFF: the samples of a page, of any type, packing and compression
``pillow_decoder``  all other formats, with what Pillow would change undone or refused
``png16``           PNG of 16-bit colour
``stored_image``    an image as its file stores it, and its conversion to 8 bits
``listing``         which files of a folder are images
==================  =================================================================
"""

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
from segkit.utils.images.listing import ImageFiles, is_system_file
from segkit.utils.images.stored_image import scale_to_uint8

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageFile",
    "ImageFiles",
    "ImageReader",
    "Planes",
    "image_size",
    "is_image_name",
    "is_system_file",
    "read_image",
    "read_pixels",
    "scale_to_uint8",
    "write_image",
]
