"""``format: auto``: recognises the format of a folder or file by its content."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.data.formats.base import Dataset
from segkit.data.formats.build import build_dataset
from segkit.data.formats.recognition import Recognition
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.paths import local_path

logger = logging.getLogger(__name__)


@DATASET_FORMAT_REGISTRY.register(name="auto")
def open_recognized(
    *,
    path: str,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    category_ids: Sequence[int] | None = None,
) -> Dataset:
    """A data set of any format, recognised by its content; the log says which one and why.

    Args:
        path: folder or file.
        split: the part to open, if the data have several (``train``, ``val``, ...); by default the training part.
        classes: class names, as in the recognised format.
        category_ids: id of each class, if the recognised format takes them.
    Raises:
        SegkitError: no format recognises the data, or several do; there is no such split.
    """
    found = recognize(local_path(path, "data set"))
    spec: Mapping[str, Any] = found.spec
    if split is not None:
        if split not in found.splits:
            hint = did_you_mean(split, found.splits) if found.splits else "; the data have no splits"
            raise SegkitError(f"{path}: there is no split '{split}'{hint}", key="split", value=split)
        spec = found.splits[split]
    logger.info("%s: taken for %s (%s)", path, spec["format"], found.reason)
    return build_dataset(spec, classes, category_ids)


def recognize(path: Path) -> Recognition:
    """The format of a folder or file.

    Raises:
        SegkitError: no format recognises it, or several do with equal certainty.
    """
    found: list[Recognition] = []
    for _, component in DATASET_FORMAT_REGISTRY:
        if inspect.isclass(component) and issubclass(component, Dataset):
            recognition = component.recognize(path)
            if recognition is not None:
                found.append(recognition)
    found.sort(key=lambda recognition: -recognition.certainty)
    if not found:
        raise SegkitError(
            f"{path}: no data format recognises it", value=str(path), choices=DATASET_FORMAT_REGISTRY.names()
        )
    if len(found) > 1 and found[0].certainty == found[1].certainty:
        both = " or ".join(f"{r.spec['format']} ({r.reason})" for r in found[:2])
        raise SegkitError(f"{path}: may be {both}; give the format", value=str(path))
    return found[0]
