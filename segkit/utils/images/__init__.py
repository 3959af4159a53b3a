"""Image files: read as 8-bit RGB or as stored, measured, written, and listed in a folder.

==================  =================================================================
``image_io``        functions that read and write one image
``image_reader``    image files as the tensors that a model gets
``image_file``      an image file, read whole or by window; which decoder reads which file
``lazy_image``      an image in a sample that is read by window
``image_source``    the interface of a decoder
``planes``          which time point, z plane, page and scene of a file with several
``tiff``            TIFF: an image of one or several planes, and what its channels mean
``tiff_pages``      TIFF: which pages are images, and their axes
``channels``        the channels of a file by number and name, and the choice among them
``intensity``       from a file's numbers to uint8 or float 0..1
``image_cache``     decoded images in memory or on disk, shared by worker processes
``composite``       pictures of images of any number of channels
``tiff_samples``    TIFF: the samples of a page, of any type, packing and compression
``tiff_segments``   TIFF: strips and tiles, and those of a window
``containers``      microscopy and slides, through optional packages: ``nd2_image``, ``czi_image``, ``zarr_image`` and
                    ``slide_image``, which share ``container_parts``
``pillow_decoder``  all other formats, with what Pillow would change undone or refused
``png16``           PNG of 16-bit colour
``stored_image``    an image as its file stores it, and its conversion to 8 bits
``suffixes``        the names of image files
``listing``         which files of a folder are images
==================  =================================================================
"""

from segkit.utils.images.channels import ChannelImage
from segkit.utils.images.composite import composite
from segkit.utils.images.image_cache import ImageCache
from segkit.utils.images.image_file import ImageFile, intensity_sample
from segkit.utils.images.image_io import image_size, read_image, read_pixels, write_image
from segkit.utils.images.image_reader import ImageReader
from segkit.utils.images.intensity import Limits, percentile_limits, percentiles
from segkit.utils.images.lazy_image import LazyImage
from segkit.utils.images.listing import ImageFiles, is_system_file
from segkit.utils.images.planes import Planes
from segkit.utils.images.stored_image import scale_to_uint8
from segkit.utils.images.suffixes import IMAGE_SUFFIXES, is_image_name

__all__ = [
    "IMAGE_SUFFIXES",
    "ChannelImage",
    "ImageCache",
    "ImageFile",
    "ImageFiles",
    "ImageReader",
    "LazyImage",
    "Limits",
    "Planes",
    "composite",
    "image_size",
    "intensity_sample",
    "is_image_name",
    "is_system_file",
    "percentile_limits",
    "percentiles",
    "read_image",
    "read_pixels",
    "scale_to_uint8",
    "write_image",
]
