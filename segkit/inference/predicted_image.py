"""An image with its detections, as writers of results get it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageFile, PixelSize, Planes, composite, read_pixel_size
from segkit.utils.images.image_source import Window, cropped
from segkit.utils.images.lazy_image import LazyImage
from segkit.utils.images.planes import ONE_PLANE, color_of
from segkit.utils.images.stored_image import StoredImage


@dataclass
class PredictedImage:
    """An image with its detections.

    Attributes:
        name: of the image in results: its path, or as the id map names it; unique in a prediction.
        stem: of its files in the output folder, such as ``overlays/STEM.png``; unique in a prediction, without folders.
        detections: in the pixels of the file, best first, on the CPU.
        image: [C, H, W] with the intensities that the model got, before the test transforms; lazy for a large file.
        file: None: the image came from memory.
        planes: which image of a file with several.
        array: the numbers [H, W, C] of an image without a file, as they were passed.
        series: name of the time series that the image belongs to; None: it belongs to none.
        frame: its position in the series, from 0.
        track_ids: int64 [N]: the track of each detection, from 1 on, unique in the series; None: nothing was linked.
    """

    name: str
    stem: str
    detections: Detections
    image: Tensor | LazyImage
    file: Path | None = None
    planes: Planes = ONE_PLANE
    array: np.ndarray | None = field(default=None, repr=False)
    series: str | None = None
    frame: int | None = None
    track_ids: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels of the file."""
        return self.detections.size

    @property
    def object_ids(self) -> np.ndarray:
        """The id of each detection in label maps, tables and all other results: int64 [N].

        It is the track of an image of a time series, else the detection's position, counted from 1.
        """
        if self.track_ids is not None:
            return self.track_ids.cpu().numpy().astype(np.int64)
        return np.arange(1, len(self.detections) + 1)

    @cached_property
    def pixel_size(self) -> PixelSize | None:
        """Of the upright image, as its file says; None if it does not, or if there is no file."""
        return None if self.file is None else read_pixel_size(self.file, self.planes)

    @cached_property
    def picture(self) -> np.ndarray:
        """The image as a picture, uint8 [H, W, 3]; a lazy image is read whole."""
        return composite(self.image.read() if isinstance(self.image, LazyImage) else self.image)

    def picture_of(self, window: Window) -> np.ndarray:
        """A window (x0, y0, x1, y1) of a picture, read alone if the image is lazy: uint8 [h, w, 3].

        The brightness of images other than uint8 grey and RGB is then that of the window.
        """
        x0, y0, x1, y1 = window
        if isinstance(self.image, LazyImage) and "picture" not in self.__dict__:
            return composite(self.image.read(window))
        return self.picture[y0:y1, x0:x1]

    def samples(self, window: Window | None = None) -> np.ndarray:
        """The numbers of :meth:`stored`: [H, W, C] in their own dtype, upright."""
        pixels = self.stored(window).pixels
        return pixels[:, :, None] if pixels.ndim == 2 else pixels

    def stored(self, window: Window | None = None) -> StoredImage:
        """What the file stores, upright, with the meaning of its channels.

        The whole image is read once, unless it is lazy; then each window is read by itself.

        Args:
            window: (x0, y0, x1, y1); None: the whole image.
        Raises:
            SegkitError: the file cannot be read, or the image has neither a file nor an array.
        """
        if self.file is not None and isinstance(self.image, LazyImage):
            return ImageFile(self.file, self.planes).read(window)
        return cropped(self._stored, window)

    @cached_property
    def _stored(self) -> StoredImage:
        """The whole of an image that is not lazy."""
        if self.file is not None:
            return ImageFile(self.file, self.planes).read()
        if self.array is None:
            raise SegkitError(f"{self.name}: the image has no stored samples, only intensities", value=self.name)
        channels = self.array.shape[2] if self.array.ndim == 3 else 1
        pixels = self.array.reshape(self.array.shape[:2]) if channels == 1 else self.array
        return StoredImage(pixels, color_of(channels), pixels.dtype.itemsize * 8)
