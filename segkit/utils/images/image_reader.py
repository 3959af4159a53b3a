"""Reads image files as the tensors that a model gets."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from segkit.utils.images.channels import ChannelChoice, ChannelImage, choose_channels
from segkit.utils.images.image_cache import ImageCache
from segkit.utils.images.image_file import ImageFile
from segkit.utils.images.image_source import Window
from segkit.utils.images.intensity import IntensityRule, Limits, percentile_limits, to_unit_range
from segkit.utils.images.lazy_image import LazyImage
from segkit.utils.images.planes import Planes
from segkit.utils.images.sampled_windows import intensity_sample
from segkit.utils.images.stored_image import StoredImage, judged_channels, spread_to_uint8


@dataclass(frozen=True)
class ImageReader:
    """Reads image files with the planes, channels and intensities of the configuration.

    Attributes:
        planes: the plane of files that hold several.
        channels: ``data.channels``: numbers or names of channels, ``all``, or None: grey and colours as RGB. ``any``: as
            None, but all channels of images that are neither.
        intensity: how samples become intensities; None: the default of ``data.intensity``.
        cache: of decoded images, and of the decoded tiles of large ones; None: each is decoded whenever it is read.
    """

    planes: Planes = field(default_factory=Planes)
    channels: ChannelChoice = None
    intensity: IntensityRule | None = None
    cache: ImageCache | None = field(default=None, repr=False, compare=False)

    def read(self, path: str | os.PathLike[str]) -> torch.Tensor:
        """The image as [C, H, W], upright: uint8, or float32 in 0..1.

        Samples of more than 8 bits, signed samples and floats become float32, which is contiguous. uint8 is a channels-last
        view, because resizing is twice as fast in that layout.

        Raises:
            SegkitError: the file cannot be read, or lacks one of the channels.
        """
        if self.cache is None or self._file(path).is_large:
            return self._decode(path)
        return self.cache.read(path, self._decode)

    def _file(self, path: str | os.PathLike[str]) -> ImageFile:
        return ImageFile(path, self.planes, self.cache)

    def _decode(self, path: str | os.PathLike[str]) -> torch.Tensor:
        file = self._file(path)
        image = file.read_unless_large()
        if image is None:
            return self._with_limits_of_file(file, file.read())
        return self.convert(image, str(path))

    def read_window(self, path: str | os.PathLike[str], window: Window) -> torch.Tensor:
        """The pixels of a window (x0, y0, x1, y1) of ``read(path)``, bit for bit.

        Raises:
            SegkitError: the file cannot be read; the window is not inside the image.
        """
        file = self._file(path)
        if not file.is_large:
            x0, y0, x1, y1 = window
            return self.read(path)[:, y0:y1, x0:x1]
        return self._with_limits_of_file(file, file.read(window))

    def open_if_large(self, path: str | os.PathLike[str]) -> LazyImage | None:
        """A large image, to be read by window; None for any other, to be read whole.

        :attr:`ImageFile.is_large` defines which are large.
        """
        file = self._file(path)
        if not file.is_large:
            return None

        def measure() -> tuple[tuple[int, int], int, torch.dtype]:
            pixel = self.read_window(path, (0, 0, 1, 1))
            return file.size, len(pixel), pixel.dtype

        return LazyImage(self, path, *file.remember(f"image {self}", measure))

    def _with_limits_of_file(self, file: ImageFile, image: StoredImage) -> torch.Tensor:
        """Pixels of a large file, with the intensities and the unmarked channels of its sample."""
        if "unknown" in image.extra and self.channels in (None, "any"):
            judged = file.remember("extra", lambda: judged_channels(intensity_sample(file)))
            image = replace(image, extra=judged)
        name, limits = str(file.path), None
        chosen = choose_channels(image, self.channels, name)
        if self.needs_limits(chosen):
            limits = file.remember(f"limits {self}", lambda: self.limits(file))
        return self.to_tensor(chosen, limits, name)

    def needs_limits(self, image: ChannelImage) -> bool:
        """Whether the intensities depend on limits; those of 8 bits mostly stay as they are."""
        return not (image.is_8_bit and (self.intensity is None or getattr(self.intensity, "keeps_8_bits", False)))

    def convert(self, image: StoredImage, name: str) -> torch.Tensor:
        """A whole image that is read already, as :meth:`read` returns it.

        Args:
            image: the file's content.
            name: the file, for messages.
        """
        return self.scale(choose_channels(image, self.channels, name), name)

    def scale(self, image: ChannelImage, name: str) -> torch.Tensor:
        """A whole image whose channels are chosen already, as :meth:`read` returns it."""
        return self.to_tensor(image, self.scale_limits(image, name), name)

    def limits(self, file: ImageFile) -> Limits | None:
        """The limits of a file's intensities, from a sample of its pixels; None: it stays uint8.

        :meth:`read` measures the whole image; a window of a large image needs the limits of the image.
        """
        return self.scale_limits(self.sample(file), str(file.path))

    def sample(self, file: ImageFile) -> ChannelImage:
        """The chosen channels of a bounded sample of a file's pixels, for measuring intensities."""
        return choose_channels(intensity_sample(file), self.channels, str(file.path))

    def size(self, path: str | os.PathLike[str]) -> tuple[int, int]:
        """(H, W) of the image; reads the header only where possible."""
        return ImageFile(path, self.planes).size

    def scale_limits(self, image: ChannelImage, name: str) -> Limits | None:
        """The limits of the intensities of chosen channels; None: they stay uint8."""
        if self.intensity is not None:
            return self.intensity.limits(image, name)
        return None if image.is_8_bit else percentile_limits(image, name)

    def to_tensor(self, image: ChannelImage, limits: Limits | None, name: str) -> torch.Tensor:
        """Chosen channels, of a window too, as :meth:`read` returns them.

        Args:
            image: its grey becomes RGB unless channels are chosen.
            limits: of the whole image (:meth:`limits`).
            name: the file, for messages.
        """
        grey = self.channels in (None, "any") and image.joint and image.pixels.shape[2] == 1
        if limits is not None:
            unit = to_unit_range(image.pixels, limits, name)
            return unit.repeat(3, 1, 1) if grey else unit
        pixels = spread_to_uint8(image.pixels, image.bits)
        pixels = np.repeat(pixels, 3, axis=2) if grey else pixels
        return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(2, 0, 1)
