"""The detections of an image with its file and class names, to look at."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError, counted
from segkit.utils.images import ImageReader

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

MAX_ROWS = 20  # of a notebook's table
MAX_SIDE = 1_200  # of a notebook's picture, in pixels


@dataclass
class ImageDetections(Detections):
    """Detections that know their image's file and the names of their classes.

    A :class:`segkit.Predictor` returns them. A notebook shows them as a picture and a table.

    Attributes:
        classes: name of each label.
        file: path of the image; empty: it came from memory.
        reader: reads the file for pictures; None: as RGB.
    """

    classes: Sequence[str] = field(default=(), repr=False, compare=False)
    file: str = field(default="", compare=False)
    reader: ImageReader | None = field(default=None, repr=False, compare=False)

    @staticmethod
    def of(found: Detections, classes: Sequence[str], file: str, reader: ImageReader | None) -> ImageDetections:
        """The same detections with class names and file."""
        values = {one.name: getattr(found, one.name) for one in fields(Detections) if one.init}
        own = ImageDetections(**values, classes=classes, file=file, reader=reader)
        own._masks, own._rles = found._masks, found._rles
        return own

    def __repr__(self) -> str:
        what = f"{self.size[0]} x {self.size[1]}{f' of {self.file}' if self.file else ''}"
        return f"ImageDetections({self._counts()} on {what}; masks: {self.has_masks})"

    def __getitem__(self, index: Tensor | slice | list[int]) -> ImageDetections:
        return ImageDetections.of(super().__getitem__(index), self.classes, self.file, self.reader)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ImageDetections:
        return ImageDetections.of(super().to(device, non_blocking), self.classes, self.file, self.reader)

    def to_pandas(self, classes: Sequence[str] = ()) -> pd.DataFrame:
        return super().to_pandas(classes or self.classes)

    def to_supervision(self, classes: Sequence[str] = ()) -> Any:
        return super().to_supervision(classes or self.classes)

    def picture(self, image: np.ndarray | Tensor | None = None, **options: Any) -> np.ndarray:
        """The detections drawn on their image: uint8 [h, w, 3].

        Args:
            image: uint8 [H, W, 3], or a tensor [C, H, W]; None: the file is read again, or the background is black if the
                image came from memory.
            options: of :func:`segkit.visualization.draw_detections`, such as ``color_by`` and ``style``.
        Raises:
            SegkitError: the file cannot be read, or the image has another size.
        """
        from segkit.visualization import draw_detections

        if image is None:
            image = (self.reader or ImageReader()).read(self.file) if self.file else np.zeros((*self.size, 3), np.uint8)
        size = tuple(image.shape[1:] if isinstance(image, Tensor) else image.shape[:2])
        if size != self.size:
            raise SegkitError(
                f"the detections are of an image of {self.size}, (H, W), but this one is {size}", value=size
            )
        return draw_detections(image, self, self.classes, **options)

    def show(self, image: np.ndarray | Tensor | None = None, **options: Any) -> Image.Image:
        """A PIL image of :meth:`picture`, which a notebook shows.

        Elsewhere its own ``show()`` opens a window.

        The arguments are those of :meth:`picture`.
        """
        from PIL import Image

        return Image.fromarray(self.picture(image, **options))

    def _repr_html_(self) -> str:
        """A picture, if the file can be read, and a table of the best objects."""
        return f"<p>{html.escape(self._counts())}</p>{self._picture_html()}{self._table_html()}"

    def _counts(self) -> str:
        """The number of objects, and of each class: ``3 objects: 2 cell, 1 debris``."""
        kinds = [f"{int((self.labels == k).sum())} {name}" for k, name in enumerate(self.classes)]
        found = ", ".join(kind for kind in kinds if not kind.startswith("0 "))
        return f"{counted(len(self), 'object')}{f': {found}' if found else ''}"

    def _picture_html(self) -> str:
        if not self.file:
            return ""
        try:
            picture = self.show()
        except SegkitError as error:
            return f"<p>{html.escape(str(error))}</p>"
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        data = base64.b64encode(stream.getvalue()).decode("ascii")
        return f'<img alt="{html.escape(self.file, quote=True)}" src="data:image/png;base64,{data}"/>'

    def _table_html(self) -> str:
        rows = []
        for i, (label, score, box) in enumerate(
            zip(
                self.labels[:MAX_ROWS].tolist(),
                self.scores[:MAX_ROWS].tolist(),
                self.boxes[:MAX_ROWS].tolist(),
                strict=True,
            )
        ):
            name = self.classes[label] if label < len(self.classes) else label
            corners = ", ".join(f"{side:.1f}" for side in box)
            rows.append(
                f"<tr><td>{i + 1}</td><td>{html.escape(str(name))}</td><td>{score:.3f}</td><td>{corners}</td></tr>"
            )
        if not rows:
            return ""
        more = f"<p>and {len(self) - MAX_ROWS} more</p>" if len(self) > MAX_ROWS else ""
        head = "<tr><th>id</th><th>class</th><th>score</th><th>box x0, y0, x1, y1</th></tr>"
        return f"<table>{head}{''.join(rows)}</table>{more}"
