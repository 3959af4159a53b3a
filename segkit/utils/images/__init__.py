"""Image files: read as 8-bit RGB or as stored, measured, written, and listed in a folder.

Reading for a model: ``image_reader`` opens an ``image_file``, ``channels`` chooses its channels, ``intensity`` scales them.

====================  ===============================================================
``image_reader``      image files as the tensors that a model gets
``image_io``          8-bit RGB, label maps, and writing: a function each
``image_file``        an image file, read whole or by window; which decoder reads which file
``sampled_windows``   the part of a large image by which its intensities are judged
``lazy_image``        an image in a sample that is read by window
``channels``          the channels of a file by number and name, and the choice among them
``intensity``         from a file's numbers to uint8 or float 0..1
``planes``            which time point, z plane, page and scene of a file with several
``image_cache``       decoded images in memory or on disk, shared by worker processes
``tile_cache``        likewise, decoded tiles of large images
``composite``         pictures of images of any number of channels
``pixel_size``        the size of a pixel in micrometres; ``calibration``: what the formats say about it
``stored_image``      an image as its file stores it, and its conversion to 8 bits
``stored_writer``     writes stored samples as they are
``suffixes``          the names of image files
``listing``           which files of a folder are images
====================  ===============================================================

Decoders, each an ``image_source``:

====================  ===============================================================
``tiff``              TIFF: an image of one or several planes, and what its channels mean
``tiff_pages``        TIFF: which pages are images, and their axes
``tiff_samples``      TIFF: the samples of a page, of any type, packing and compression
``tiff_segments``     TIFF: strips and tiles, and those of a window
``containers``        chooses among ``nd2_image``, ``czi_image``, ``zarr_image`` and ``slide_image``, which read
                      microscopy and slides through optional packages and share ``container_parts``
``pillow_decoder``    all other formats, with what Pillow would change undone or refused
``png16``             PNG of 16-bit colour
====================  ===============================================================
"""

from segkit.utils.images.channels import ChannelImage
from segkit.utils.images.composite import composite
from segkit.utils.images.image_cache import ImageCache
from segkit.utils.images.image_file import ImageFile
from segkit.utils.images.image_io import image_size, read_image, read_pixels, write_image
from segkit.utils.images.image_reader import ImageReader
from segkit.utils.images.intensity import Limits, percentile_limits, percentiles
from segkit.utils.images.lazy_image import LazyImage
from segkit.utils.images.listing import ImageFiles, is_system_file
from segkit.utils.images.pixel_size import PixelSize, read_pixel_size
from segkit.utils.images.planes import Planes
from segkit.utils.images.sampled_windows import intensity_sample
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
    "PixelSize",
    "Planes",
    "composite",
    "image_size",
    "intensity_sample",
    "is_image_name",
    "is_system_file",
    "percentile_limits",
    "percentiles",
    "read_image",
    "read_pixel_size",
    "read_pixels",
    "scale_to_uint8",
    "write_image",
]
