"""Replaces ``{format: auto}`` in a run's configuration by the specs that it stands for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segkit.config.nodes import DEFAULT
from segkit.config.schema import Config, SplitConfig
from segkit.config.spec import to_plain
from segkit.data.formats import Recognition, recognize
from segkit.data.formats.recognition.auto import choose_split
from segkit.data.formats.split_names import Kind, find_split, split_kind
from segkit.utils.errors import SegkitError
from segkit.utils.paths import local_path

logger = logging.getLogger(__name__)


def with_recognized_data(cfg: Config) -> Config:
    """The configuration with explicit specs in place of ``{format: auto}``.

    Later runs of the saved configuration do not depend on recognition.

    If ``data.val`` was never set, the validation split of recognised training data becomes ``data.val``; the log says so.

    Raises:
        SegkitError: data of no known format, or without the split that is needed.
    """
    values: dict[str, Any] = {}
    train, val = cfg.data.train, cfg.data.val
    if train["format"] == "auto":
        found = _recognize(train, "data.train")
        values["data.train"] = _spec(train, found, "train", "data.train")
        logger.info("data.train: %s is taken for %s: %s", train["path"], found.spec["format"], found.reason)
        if val is None and cfg.origins.get("data.val") == DEFAULT and train.get("split") is None:
            values |= _validation(train, found)
        elif isinstance(val, SplitConfig) and (own := find_split(found.splits, "val")) is not None:
            logger.info("data.val: from_train takes images of data.train; the split '%s' is not used", own)
    else:
        values |= _nested(train, "train", "data.train")
    if val is not None and not isinstance(val, SplitConfig):
        if val["format"] == "auto":
            found = _recognize(val, "data.val")
            values["data.val"] = _spec(val, found, "val", "data.val")
            logger.info("data.val: %s is taken for %s: %s", val["path"], found.spec["format"], found.reason)
        else:
            values |= _nested(val, "val", "data.val")
    return cfg.with_values(values, "recognised") if values else cfg


def recognized_spec(given: Mapping[str, Any], kind: Kind, key: str) -> dict[str, Any]:
    """The explicit spec of ``{format: auto, path: ...}``, for training or validation.

    Args:
        given: its arguments.
        kind: which split to take if the data have several and ``given`` names none.
        key: where it is configured, for messages.
    """
    return _spec(given, _recognize(given, key), kind, key)


def _nested(spec: Mapping[str, Any], kind: Kind, key: str) -> dict[str, Any]:
    """The spec by its key, if it holds ``{format: auto}`` in place of another data set's spec; else empty."""
    explicit = _explicit(spec, kind, key)
    return {} if explicit == to_plain(spec) else {key: explicit}


def _explicit(spec: Mapping[str, Any], kind: Kind, key: str) -> dict[str, Any]:
    """A spec as plain values, with explicit ones in place of each ``{format: auto}`` in it."""
    if spec["format"] == "auto":
        found = _recognize(spec, key)
        logger.info("%s: %s is taken for %s: %s", key, spec["path"], found.spec["format"], found.reason)
        return _spec(spec, found, kind, key)
    return {
        name: _explicit(value, kind, f"{key}.{name}")
        if isinstance(value, Mapping) and isinstance(value.get("format"), str)
        else to_plain(value)
        for name, value in spec.items()
    }


def _recognize(spec: Mapping[str, Any], key: str) -> Recognition:
    try:
        return recognize(local_path(spec["path"], "data set"))
    except SegkitError as error:
        raise SegkitError(f"{key}: {error}", key=key, value=error.value, choices=error.choices) from error


def _spec(given: Mapping[str, Any], found: Recognition, kind: Kind, key: str) -> dict[str, Any]:
    """The spec of the split that is asked for, else of the one of the kind that the key needs."""
    if given.get("split") is not None:
        return _with_classes(found.splits[choose_split(found, given["split"], f"{key}: {given['path']}")], given)
    if not found.splits:
        return _with_classes(found.spec, given)
    name = find_split(found.splits, kind)
    if name is not None:
        return _with_classes(found.splits[name], given)
    # Training data are never what the data call validation, and the other way round.
    others = sorted(found.splits)
    if any(split_kind(other) is not None for other in others):
        raise SegkitError(
            f"{key}: {given['path']} has the splits {', '.join(others)} and none that is called {kind}; choose one with "
            f"{key}.split={others[0]}",
            key=key,
            value=given["path"],
            choices=others,
        )
    return _with_classes(found.spec, given)


def _with_classes(spec: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    extra = {key: given[key] for key in ("classes", "category_ids") if given.get(key) is not None}
    return {**spec, **extra}


def _validation(train: Mapping[str, Any], found: Recognition) -> dict[str, Any]:
    """``data.val`` from the splits of the training data; empty if they have no validation split."""
    name, folder = find_split(found.splits, "val"), Path(train["path"])
    if name is not None:
        logger.info("data.val: was not set; it is the split '%s' of %s", name, folder)
        return {"data.val": _with_classes(found.splits[name], train)}
    test = find_split(found.splits, "test")
    if test is not None:
        what = f"{folder} has a split '{test}' and none for validation"
        hint = f"to evaluate on it: data.val={folder} data.val.split={test}; "
    else:
        what, hint = f"{folder} has no validation split", ""
    logger.warning(
        "data.val: was not set, and %s: nothing is evaluated (%sto set a tenth aside: data.val.from_train=0.1)",
        what,
        hint,
    )
    return {}
