"""Checks before training that model and transforms take the channels of the images."""

from __future__ import annotations

from typing import Any

from segkit.config.schema import Config
from segkit.data import Dataset, build_transforms
from segkit.data.transforms import Compose
from segkit.registry import BACKBONE_REGISTRY, META_ARCH_REGISTRY, Registry
from segkit.utils.errors import SegkitError

MAX_TRIED = 10  # unreadable images, before the check ends


def check_channels(cfg: Config, dataset: Dataset, train_transforms: Compose | None, *, path: str) -> None:
    """Raises one SegkitError with all settings that do not fit the images' channels.

    Args:
        cfg: sections ``model`` and ``data`` are used.
        dataset: its first readable image is read, unless all is as for grey and RGB files.
        train_transforms: those of the data set; None for validation data.
        path: the data set's key path, for messages.
    """
    expected = model_channels(cfg)
    if cfg.data.channels is None and (expected is None or set(expected.values()) == {3}):
        return  # segkit's formats return three channels; other data sets are checked at the first batch
    count = image_channels(dataset)
    if count is None:
        return
    problems = []
    wrong = {key: n for key, n in (expected or {}).items() if n != count}
    if wrong:
        problems.append(_model_problem(cfg, count, wrong, path))
    lists = {
        "data.train_transforms": train_transforms,
        "data.test_transforms": build_transforms(cfg.data.test_transforms, path="data.test_transforms"),
    }
    for key, compose in lists.items():
        if compose is None:
            continue
        for transform in compose.transforms:
            check = getattr(transform, "check_channels", None)  # not every callable is a Transform
            try:
                if check is not None:
                    check(count)
            except SegkitError as error:
                problems.append(f"{key}: {error}")
    if problems:
        raise SegkitError("; ".join(problems), key="data.channels", value=count)


def model_channels(cfg: Config) -> dict[str, int] | None:
    """Number of image channels by each key of ``model`` that states it.

    None if the model has no ``pixel_mean``.
    """
    found = {}
    for key in ("pixel_mean", "pixel_std"):
        values = _argument(META_ARCH_REGISTRY, cfg.model, key)
        if values is None:
            return None
        found[f"model.{key}"] = len(values)
    channels = _argument(BACKBONE_REGISTRY, cfg.model.get("backbone"), "in_channels")
    if isinstance(channels, int):
        found["model.backbone.in_channels"] = channels
    return found


def image_channels(dataset: Dataset) -> int | None:
    """Number of channels of the first readable image; None if none of the first can be read."""
    for index in range(min(MAX_TRIED, len(dataset))):
        try:
            return dataset.open(index).image.shape[0]
        except SegkitError as error:
            if error.key == "data.channels":
                raise
    return None


def _model_problem(cfg: Config, count: int, wrong: dict[str, int], path: str) -> str:
    chosen = f"data.channels: {_text(cfg.data.channels)}"
    lines = []
    if any(key.startswith("model.pixel") for key in wrong):
        lines.append(
            f"model.pixel_mean and model.pixel_std: a list of {count} number{'s' * (count != 1)} each (or "
            "data.measure_pixel_stats: true, which measures them)"
        )
    if "model.backbone.in_channels" in wrong:
        lines.append(f"model.backbone.in_channels: {count}")
    stated = ", ".join(f"{key} {'of ' if 'pixel' in key else ''}{n}" for key, n in wrong.items())
    problem = (
        f"{chosen}: the images of {path} have {count} channel{'s' * (count != 1)}, and the model takes another number "
    )
    problem += f"({stated}); "
    problem += "set " + " and ".join(lines)
    other = set(wrong.values())
    if cfg.data.channels is None and len(other) == 1 and (n := other.pop()) < count:
        problem += f"; or choose as many channels as the model takes: data.channels: {list(range(n))}"
    return problem


def _argument(registry: Registry, spec: Any, name: str) -> Any:
    """An argument of a component, or its default; None if it has no such argument."""
    if spec is None:
        return None
    options = registry.signature(spec[registry.key]).options
    if name not in options:
        return None
    default = options[name].default
    return spec.get(name, default if default is not options[name].empty else None)


def _text(channels: Any) -> str:
    if channels is None or channels == "all":
        return str(channels or "null")
    return f"[{', '.join(map(str, channels))}]"
