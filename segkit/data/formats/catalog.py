"""Data sets by name, for those who prefer Python to a path in the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from segkit.data.formats.base import Dataset
from segkit.data.formats.build import build_dataset
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean

_CATALOG: dict[str, Callable[[], Dataset] | Mapping[str, Any]] = {}


def register_dataset(name: str, source: Callable[[], Dataset] | Mapping[str, Any]) -> None:
    """Give a data set a name, which ``{format: catalog, name: NAME}`` then finds.

    Args:
        name: any text; a name that is taken is given the new source (a notebook cell run again).
        source: a function without arguments that makes the data set, or a spec as in a configuration.
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
    """The data set registered as ``name`` with :func:`register_dataset`.

    Args:
        name: its name.
        classes: names that it must have (or gets, if it was registered as a spec).
        category_ids: id of each class, for a data set registered as a spec.
    """
    if name not in _CATALOG:
        none = "; none is: call segkit.data.register_dataset in a module that the config imports"
        hint = did_you_mean(name, _CATALOG) or none
        raise SegkitError(f"no data set is registered as '{name}'{hint}", value=name, choices=catalog_names())
    source = _CATALOG[name]
    return build_dataset(source, classes, category_ids) if isinstance(source, Mapping) else source()
