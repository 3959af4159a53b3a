"""Writes one table with a row for each object of all images."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.calibrated import PixelSizeOption
from segkit.results.object_rows import STATISTICS, ObjectRows, channel_columns, csv_line
from segkit.results.part_files import PartFiles
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import MissingPackage, SegkitError

IMAGES, ROWS = "table_images", "table_rows"
GROUP = 1 << 16  # rows of a row group of a Parquet file


@RESULT_WRITER_REGISTRY.register(name="table")
class TableResultWriter(ResultWriter):
    """Writes ``table.csv`` or ``table.parquet``, with a row for each object.

    The measures are those of scikit-image's ``regionprops``.

    Columns are the same in all rows. Those in micrometres are empty for an image whose pixel size is unknown, those of shapes
    and samples for boxes without masks, and those of a channel for images with fewer channels.

    Args:
        output, classes, category_ids, parts: as of every writer.
        format: ``csv``, or ``parquet``, which needs pyarrow (the extra ``parquet``).
        pixel_size: in micrometres, one number or width and height; None: as each image's file says.
        intensities: whether to measure the samples that the file stores, in each channel.
        neighbour_ids: whether a column lists the ids of the touching objects.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        parts: PartFiles,
        *,
        format: Literal["csv", "parquet"] = "csv",
        pixel_size: float | list[float] | None = None,
        intensities: bool = True,
        neighbour_ids: bool = False,
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        if format not in ("csv", "parquet"):
            raise SegkitError(f"table: format is {format!r}; expected csv or parquet", key="format", value=format)
        if format == "parquet":
            _import_pyarrow()
        self._format = format
        self._pixel_sizes = PixelSizeOption(pixel_size)
        self._rows = ObjectRows(
            self.classes, intensities=intensities, neighbour_ids=neighbour_ids, escape=format == "csv"
        )
        self.path = self.output / f"table.{format}"

    def add(self, image: PredictedImage) -> None:
        lines, channels = self._rows.lines(image, self._pixel_sizes.of(image))
        for line in lines:
            self.parts.append(ROWS, line)
        self.parts.append(IMAGES, json.dumps([len(lines), channels]))

    def close(self) -> list[Path]:
        channels = max((json.loads(line)[1] for line in self.parts.lines(IMAGES)), default=0)
        with atomic_write(self.path) as temporary:
            write = self._write_csv if self._format == "csv" else self._write_parquet
            write(temporary, channels)
        return [self.path]

    def _write_csv(self, path: Path, channels: int) -> None:
        with open(path, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(csv_line([*self._rows.columns, *channel_columns(channels)]) + "\n")
            stream.writelines(line + "\n" for line in self._lines(channels))

    def _write_parquet(self, path: Path, channels: int) -> None:
        pa, reader, parquet = _import_pyarrow()
        names = {str: pa.string(), int: pa.int64(), float: pa.float64()}
        types = {name: names[kind] for name, kind in self._rows.columns.items()}
        types |= {name: pa.float64() for name in channel_columns(channels)}
        schema = pa.schema(list(types.items()))
        read = reader.ReadOptions(column_names=list(types))
        convert = reader.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        )
        with parquet.ParquetWriter(path, schema) as writer:
            for text in _groups(self._lines(channels)):
                writer.write_table(reader.read_csv(io.BytesIO(text), read_options=read, convert_options=convert))

    def _lines(self, channels: int) -> Iterator[str]:
        """The lines of all objects, with empty cells for the channels that an image lacks."""
        rows = self.parts.lines(ROWS)
        for line in self.parts.lines(IMAGES):
            count, own = json.loads(line)
            missing = "," * len(STATISTICS) * (channels - own)
            for _ in range(count):
                yield next(rows) + missing


def _groups(lines: Iterator[str]) -> Iterator[bytes]:
    """Yields up to ``GROUP`` lines at a time."""
    group: list[str] = []
    for line in lines:
        group.append(line)
        if len(group) == GROUP:
            yield "\n".join(group).encode() + b"\n"
            group = []
    if group:
        yield "\n".join(group).encode() + b"\n"


def _import_pyarrow() -> tuple[Any, Any, Any]:
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackage(
            "table: the format parquet needs pyarrow: pip install 'segkit[parquet]'; or set format to csv", key="format"
        ) from error
    return pyarrow, pyarrow.csv, pyarrow.parquet
