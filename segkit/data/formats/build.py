"""Builds a data set from its spec and compares its classes with those of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segkit.data.formats.base import Dataset
from segkit.data.formats.class_names import category_of_name, check_classes
from segkit.data.formats.partial import PartialAnnotation, PartiallyAnnotated
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageReader


def build_dataset(
    spec: Mapping[str, Any],
    classes: Sequence[str] | None = None,
    category_ids: Sequence[int] | None = None,
    *,
    reader: ImageReader | None = None,
    partial: PartialAnnotation | None = None,
    path: str = "data set",
) -> Dataset:
    """Builds the data set of a spec, as ``{format: label_map, root: data/train}``.

    Args:
        spec: the format and its arguments.
        classes: the model's class names, in the order of the labels; None: read from the data.
        category_ids: the id of each of these classes in the training files.
        reader: reads the image files; None: the data set's own.
        partial: categories that are regions, and classes that are not annotated everywhere; None: neither.
        path: the spec's key path, for messages.
    Raises:
        SegkitError: the data cannot be read, or the classes differ from ``classes``.
    """
    arguments = dict(spec)
    kind = arguments.get("format")
    is_known = isinstance(kind, str) and kind in DATASET_FORMAT_REGISTRY
    known = DATASET_FORMAT_REGISTRY.signature(str(kind)).options if is_known else {}
    partial = partial or PartialAnnotation()
    partial.check_classes(classes or (), "classes")
    names, ids = _with_regions(classes, category_ids, partial.region_classes, arguments.get("classes"))
    # Arguments of the spec take precedence; the check below finds classes that contradict the model's.
    for key, value in (("classes", names), ("category_ids", ids)):
        if value is not None and key in known and arguments.get(key) is None:
            arguments[key] = list(value)
    dataset = DATASET_FORMAT_REGISTRY.build(arguments, path=path)
    if reader is not None:
        dataset.reader = reader
    check_classes(dataset.classes, None, f"{path}: classes")  # formats outside of segkit may not check them
    if partial:
        dataset = PartiallyAnnotated(dataset, partial, optional=classes is not None)
    if classes is not None and list(dataset.classes) != list(classes):
        raise SegkitError(f"{path}: {class_difference(dataset.classes, classes)}", key=path, value=dataset.classes)
    return dataset


def _with_regions(
    classes: Sequence[str] | None,
    category_ids: Sequence[int] | None,
    regions: Sequence[str],
    own_classes: Any,
) -> tuple[Sequence[str] | None, Sequence[int] | None]:
    """Class names and ids that a format gets: those of the model, and the categories of regions after them.

    Args:
        classes: the model's class names, or None.
        category_ids: the id of each, or None.
        regions: the categories of regions, whose ids are ``K`` for the name ``classK``, else the next free ones.
        own_classes: the spec's class names, to whose order the ids are brought.
    """
    if classes is None or not regions:
        return classes, category_ids
    names = [*classes, *regions]
    if category_ids is None:
        return names, None
    ids = dict(zip(classes, category_ids, strict=True))
    for name in regions:
        known = category_of_name(name)
        ids[name] = max(ids.values(), default=0) + 1 if known is None or known in ids.values() else known
    order = own_classes if isinstance(own_classes, (list, tuple)) and set(own_classes) <= set(ids) else names
    return names, [ids[name] for name in order]


def class_difference(found: Sequence[str], expected: Sequence[str]) -> str:
    """Describes in one sentence how two lists of class names differ."""
    lacking, extra = [c for c in expected if c not in found], [c for c in found if c not in expected]
    if not lacking and not extra:
        return f"the classes are in another order: {', '.join(found)}; expected {', '.join(expected)}"
    parts = [f"lacks {', '.join(lacking)}"] if lacking else []
    parts += [f"has {', '.join(extra)}, not expected"] if extra else []
    return f"the data has {len(found)} classes, {len(expected)} are expected; it " + " and ".join(parts)
