"""Data sets that a program registers by name: ``{format: catalog, name: NAME}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from segkit.data.formats.base import Dataset
from segkit.data.formats.build import build_dataset
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean

_CATALOG: dict[str, Callable[[], Dataset] | Mapping[str, Any]] = {}


def register_dataset(name: str, source: Callable[[], Dataset] | Mapping[str, Any]) -> None:
    """Registers a data set for ``{format: catalog, name: NAME}`` in a configuration.

    Args:
        name: any text. A name that is registered already gets the new source (a notebook cell run again).
        source: a function without arguments that returns the data set, or a spec as in a configuration.
    """
    assert callable(source) or isinstance(source, Mapping), source
    _CATALOG[name] = source


def catalog_names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_CATALOG)


@DATASET_FORMAT_REGISTRY.register(name="catalog")
def from_catalog(
    *, name: str, classes: Sequence[str] | None = None, category_ids: Sequence[int] | None = None
) -> Dataset:
    """The data set that :func:`register_dataset` registered under ``name``.

    Args:
        name: of the data set.
        classes: class names that the data set must have; a data set registered as a spec gets them.
        category_ids: id of each class, for a data set registered as a spec.
    """
    if name not in _CATALOG:
        how_to = "; the catalog is empty: call segkit.data.register_dataset in a module that the config imports"
        hint = did_you_mean(name, _CATALOG) or how_to
        raise SegkitError(f"no data set is registered as '{name}'{hint}", value=name, choices=catalog_names())
    source = _CATALOG[name]
    return build_dataset(source, classes, category_ids) if isinstance(source, Mapping) else source()
