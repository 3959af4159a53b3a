"""The Predictor: detections of images by a checkpoint, or a configuration and a model."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from segkit.data.formats.class_names import default_category_ids
from segkit.data.measuring import with_measured_values
from segkit.data.reader import build_reader
from segkit.inference.batch_size import BatchSize, FittingBatchSize, checked_batch_size, in_parts
from segkit.inference.image_detections import ImageDetections
from segkit.inference.inputs import in_rgb, is_single_image, open_image
from segkit.inference.lowest_scores import lowest_scores
from segkit.inference.open_checkpoint import build_loaded, check_source, checked_order, class_names, config_of
from segkit.inference.pipeline import build_pipeline
from segkit.structures.object_sides import saved_object_sides
from segkit.structures.sample import Sample
from segkit.structures.score_thresholds import above_threshold, saved_thresholds
from segkit.structures.targets import Targets
from segkit.utils.device import choose_device, device_of

if TYPE_CHECKING:
    from segkit.config.schema import Config
    from segkit.inference.predicted_image import PredictedImage
    from segkit.structures.detections import Detections
    from segkit.utils.images.lazy_image import LazyImage

logger = logging.getLogger(__name__)


class Predictor:
    """Predicts the detections of images: paths, PIL images, arrays or tensors.

    Images pass the configuration's ``data.test_transforms``, as in evaluation. The detections are in the pixels of the
    original image, on the CPU, best first.

    >>> predictor = Predictor("output/cells/model_final.pth")
    >>> detections = predictor("image.tif")
    >>> for detections in predictor(Path("images").glob("*.tif")): ...

    Args:
        source: the path of a checkpoint, which has configuration and classes, or a configuration.
        weights: with a configuration: the checkpoint whose weights are loaded.
        model: with a configuration: a model (nn.Module) that is ready.
        score_threshold: lowest score of a detection; ``best``: of each class the best one on the validation data, which
            the checkpoint holds; ``best_overall``: the best single one; None: the configuration's
            ``predict.score_threshold``.
        device: where the model runs; None: a GPU if there is one; a ``model`` stays where it is.
        batch_size: number of images, with ``predict.tile`` of tiles, that go through the network together; ``auto``: as many
            as the memory of a GPU allows, by what the first one takes, and 1 on a CPU. With ``auto``, a batch for which the
            memory is too small is predicted in halves.
        overrides: with a checkpoint: changes of its configuration, as on the command line:
            ``["model.roi_heads.score_threshold=0.3"]``.
        channel_order: of colours in arrays and tensors; ``bgr`` as OpenCV reads them. Files are read as RGB in any case.

    A predictor may be used by several threads at once.

    Attributes:
        classes: name of each label.
        category_ids: the id of each label in files.
        cfg: the configuration.
        reader: reads image files with the channels and intensities of the configuration.
        pipeline: from an opened image to detections in its file's pixels.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Config,
        weights: str | os.PathLike[str] | None = None,
        model: Any = None,
        score_threshold: float | Literal["best", "best_overall"] | None = None,
        device: str | int | torch.device | None = None,
        batch_size: BatchSize = 1,
        overrides: Sequence[str] = (),
        channel_order: Literal["rgb", "bgr"] = "rgb",
    ) -> None:
        from segkit.modeling.weights.reading import checkpoint_content

        check_source(source, weights, model, overrides)
        # Checked before a large file is read.
        target = choose_device(device, key="device") if device is not None or model is None else None
        if isinstance(source, (str, os.PathLike)):
            weights = source
        content = checkpoint_content(os.fspath(weights)) if weights is not None else {}
        cfg: Any = config_of(content, str(weights), overrides) if weights is source else source
        self.cfg: Config = with_measured_values(cfg, content.get("config"), required=model is None)
        self.classes = class_names(content, self.cfg, model, weights)
        ids = content.get("category_ids")
        self.category_ids = [int(k) for k in ids] if ids is not None else default_category_ids(self.classes)
        self.model: Any = model if model is not None else build_loaded(self.cfg, self.classes, str(weights), content)
        if getattr(self.model, "class_agnostic", False):  # its label 0 is not a class of the data
            self.classes, self.category_ids = ["object"], [1]
        if target is not None:
            self.model.to(target)
        self.model.eval()
        self.batch_size = checked_batch_size(batch_size)
        self.channel_order = checked_order(channel_order, self.cfg)
        self._saved_thresholds = saved_thresholds(content)
        self._iteration = content.get("iteration")
        self._source = "the model" if weights is None else str(weights)
        self.score_threshold = self.cfg.predict.score_threshold if score_threshold is None else score_threshold
        self._object_sides = saved_object_sides(content)
        self.pipeline = build_pipeline(
            self.cfg,
            self.model,
            object_sides=self._object_sides,
            batch_size=self._number(batch_size),
        )
        self.reader = build_reader(self.cfg.data)

    @classmethod
    def load(
        cls,
        weights: str,
        config_file: str | None = None,
        overrides: Sequence[str] = (),
        score_threshold: float | Literal["best", "best_overall"] | None = None,
        device: str | int | torch.device | None = None,
        batch_size: int = 1,
    ) -> Predictor:
        """Builds a Predictor of a checkpoint, with its own configuration or that of a file."""
        from segkit.config.loader import load_config

        if config_file is None:
            return cls(
                weights, score_threshold=score_threshold, device=device, batch_size=batch_size, overrides=overrides
            )
        cfg = load_config(config_file, overrides)
        return cls(cfg, weights=weights, score_threshold=score_threshold, device=device, batch_size=batch_size)

    @property
    def score_threshold(self) -> Any:
        """The lowest score of a detection, as it was set: a number, ``best`` or ``best_overall``."""
        return self._score_threshold

    @score_threshold.setter
    def score_threshold(self, setting: Any) -> None:
        floor = getattr(getattr(self.model, "roi_heads", None), "score_threshold", 0.0)
        self._threshold = lowest_scores(
            setting, self._saved_thresholds, self.classes, source=self._source, iteration=self._iteration, floor=floor
        )
        self._score_threshold = setting

    @property
    def thresholds(self) -> dict[str, float]:
        """The lowest score that is kept of each class, by name."""
        of_labels = self._threshold.tolist() if isinstance(self._threshold, Tensor) else repeat(self._threshold)
        return dict(zip(self.classes, of_labels, strict=False))

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return device_of(self.model)

    def __call__(self, images: Any, batch_size: BatchSize | None = None) -> Any:
        """Predicts one image, or each image of an iterable.

        Args:
            images: a path, a PIL image, an array [H, W, C] or [H, W], also of Zarr or dask (which is read by windows with
                ``predict.tile``), a tensor [C, H, W], or an iterable of these. Arrays and tensors are grey or RGB, or have
                the channels of ``data.channels``, in that order; uint8, uint16 or any other numbers, which become
                intensities by ``data.intensity``, as those of a file do.
            batch_size: overrides the predictor's.
        Returns:
            ``Detections`` for one image; a list of them for a list or tuple; for any other iterable an iterator, which
            reads the images lazily.
        Raises:
            SegkitError: an image cannot be read or has another shape or type, or the network outputs NaN.
        """
        if is_single_image(images):
            return self._predict([images])[0]
        if not isinstance(images, Iterable):
            return self._predict([images])[0]  # raises an error that says what is expected
        size = self.batch_size if batch_size is None else checked_batch_size(batch_size)
        stream = self._stream(iter(images), size)
        return list(stream) if isinstance(images, Sequence) else stream

    def _stream(self, images: Iterator[Any], batch_size: BatchSize) -> Iterator[Detections]:
        if batch_size != "auto":
            while chunk := list(islice(images, batch_size)):
                yield from self._predict(chunk)
            return
        fitting = FittingBatchSize(self.device)
        while chunk := list(islice(images, fitting.size)):
            yield from fitting.measured(functools.partial(in_parts, self._predict, chunk))

    def warmup(self, size: tuple[int, int] = (512, 512), *, batch_size: int = 1, repeats: int = 2) -> float:
        """Predicts black images, so that later calls do not pay for what only the first ones do.

        That is: libraries that load at first use, a GPU's kernels and memory, and the choice of convolution algorithms for
        images of this size.

        Args:
            size: (H, W) of the images.
            batch_size: number of images at once.
            repeats: number of predictions.
        Returns:
            Seconds of the last one.
        """
        channels = getattr(self.model, "pixel_mean", torch.zeros(3)).numel()
        images = [torch.zeros(channels, *size, dtype=torch.uint8)] * batch_size
        seconds = 0.0
        for _ in range(max(1, repeats)):
            start = time.perf_counter()
            self.predict_read(images, batch_size)
            seconds = time.perf_counter() - start
        return seconds

    def stream(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        batch_size: int | None = None,
        readers: int = 2,
        skip_unreadable: bool = False,
        progress: bool = False,
    ) -> Iterator[PredictedImage]:
        """Yields each file's image with its detections, in order, while threads read the next files.

        Args:
            paths: of image files.
            batch_size: overrides the predictor's.
            readers: threads that read; 0: files are read between two batches.
            skip_unreadable: whether images that cannot be read are skipped, with a warning each.
            progress: whether to show the number of images on a terminal.
        Raises:
            SegkitError: an image cannot be read, or the memory is full; the message names the image.
        """
        from segkit.inference.stream import stream

        return stream(
            self,
            paths,
            batch_size=self._number(batch_size),
            readers=readers,
            skip_unreadable=skip_unreadable,
            progress=progress,
        )

    def predict_read(self, images: Sequence[Tensor | LazyImage], batch_size: int = 1) -> list[Detections]:
        """Predicts images that ``reader`` has read or opened.

        They are [C, H, W] each, uint8 or float in 0..1.
        """
        found: list[Detections] = []
        for start in range(0, len(images), batch_size):
            found += self._predict_samples([self._sample(image, "") for image in images[start : start + batch_size]])
        return found

    def _predict(self, sources: Sequence[Any]) -> list[Detections]:
        names = [str(source) if isinstance(source, (str, os.PathLike)) else "" for source in sources]
        channels = getattr(self.model, "pixel_mean", torch.zeros(3)).numel()
        lazily = self.pipeline.reads_windows
        images = [
            open_image(in_rgb(source) if self.channel_order == "bgr" else source, self.reader, channels, lazily=lazily)
            for source in sources
        ]
        found = self._predict_samples([self._sample(*pair) for pair in zip(images, names, strict=True)])
        pairs = zip(found, names, strict=True)
        return [ImageDetections.of(one, self.classes, name, self.reader) for one, name in pairs]

    def _number(self, batch_size: BatchSize | None) -> int:
        """The batch size; ``auto`` is 1, since the size of a stream's batches is chosen before it begins."""
        size = self.batch_size if batch_size is None else checked_batch_size(batch_size)
        return 1 if size == "auto" else size

    def _predict_samples(self, samples: Sequence[Sample]) -> list[Detections]:
        # Not inference_mode: callers could not change its tensors in place.
        with torch.no_grad(), self._precision():
            found = self.pipeline.predict(samples)
        return [above_threshold(detections, self._threshold) for detections in found]

    def _sample(self, image: Tensor | LazyImage, name: str) -> Sample:
        size = (int(image.shape[1]), int(image.shape[2]))
        return Sample(image, Targets.empty(size), 0, name, size, None)  # type: ignore[arg-type]  # lazy ones too

    def _precision(self) -> torch.autocast:
        """The training's precision on a GPU; fp32 on a CPU, where half precision is rarely faster."""
        precision = self.cfg.train.precision
        dtype = torch.float16 if precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.device.type == "cuda" and precision != "fp32")
