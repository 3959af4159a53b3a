"""A few components that replace the registered ones during each test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pytest

from segkit import registry as R
from segkit.config import Bounds, Config, Period, load_config


class TinyNet:
    """A backbone for tests."""

    def __init__(
        self,
        *,
        width: int = 8,
        arch: Literal["small", "large"] = "small",
        weights: str | None = None,
        drop: Annotated[float, Bounds(0, 1)] = 0.0,
        scales: Mapping[str, float] | None = None,
    ) -> None: ...


class BigNet:
    def __init__(self, *, depth: int, stages: list[str] = ["a"], act: type = int) -> None: ...  # noqa: B006


class FPN:
    def __init__(self, in_features: dict[str, int], *, out_channels: int = 256, norm: str | None = None) -> None: ...


class Detector:
    """A model for tests.

    More text.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: Annotated[object, R.Slot(R.BACKBONE_REGISTRY, provides={"in_features": "out_features"})],
        neck: Annotated[object, R.Slot(R.NECK_REGISTRY)] = {"name": "FPN", "out_channels": 64},
        extra: Annotated[object | None, R.Slot(R.NECK_REGISTRY)] = None,
        necks: Annotated[Sequence[object], R.SlotList(R.NECK_REGISTRY)] = (),
        pixel_mean: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None: ...


class LabelMap:
    def __init__(self, *, root: str, classes: Sequence[str] | None = None) -> None: ...


class Coco:
    def __init__(self, *, json: str, images: str) -> None: ...


class Catalog:
    def __init__(self, *, name: str, limit: int | None = None) -> None: ...


class Flip:
    def __init__(self, *, p: float = 0.5) -> None: ...


class Resize:
    def __init__(self, *, sizes: Sequence[int], max_size: int | None = None, antialias: bool = True) -> None: ...


class AdamW:
    def __init__(self, params: object, *, lr: float, weight_decay: float = 0.0) -> None: ...


class SGD:
    def __init__(self, params: object, *, lr: float, momentum: float = 0.9) -> None: ...


class Cosine:
    def __init__(self, *, end_lr: float = 0.0, step: Literal["iteration", "epoch"] = "iteration") -> None: ...


class Report:
    """A hook for tests."""

    def __init__(self, *, period: Period = Period(100), text: str = "") -> None: ...  # noqa: B008


class Nothing:
    pass


COMPONENTS = {
    R.META_ARCH_REGISTRY: {"Detector": Detector},
    R.BACKBONE_REGISTRY: {"TinyNet": TinyNet, "BigNet": BigNet},
    R.NECK_REGISTRY: {"FPN": FPN},
    R.DATASET_FORMAT_REGISTRY: {"label_map": LabelMap, "coco": Coco, "catalog": Catalog},
    R.TRANSFORM_REGISTRY: {"RandomHorizontalFlip": Flip, "ResizeShortestEdge": Resize},
    R.SAMPLER_REGISTRY: {"ShuffleSampler": Nothing},
    R.INTENSITY_REGISTRY: {"percentile": Nothing},
    R.OPTIMIZER_REGISTRY: {"AdamW": AdamW, "SGD": SGD},
    R.SCHEDULE_REGISTRY: {"Cosine": Cosine, "Constant": Nothing},
    R.HOOK_REGISTRY: {"Report": Report},
    R.EVALUATOR_REGISTRY: {"COCO": Nothing, "PrecisionRecall": Nothing},
}

MINIMAL = """\
model:
  name: Detector
  backbone: {name: TinyNet}
data:
  train: {format: label_map, root: data/train}
"""


@pytest.fixture(autouse=True)
def components(monkeypatch):
    """The registries hold the classes above, and drop what a test registers."""
    for registry in R.ALL_REGISTRIES:
        monkeypatch.setattr(registry, "_obj_map", dict(COMPONENTS.get(registry, {})))
        monkeypatch.setattr(registry, "_loaded", True)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty current folder, so that files have short names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder):
    """Writes a file below the current folder; ``write("a.yaml", text)`` returns its name."""

    def write(name: str, text: str) -> str:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return name

    return write


@pytest.fixture
def load(write):
    """Load a config given as text (added to the minimal one), with overrides."""

    def load(text: str = "", *overrides: str, base: str = MINIMAL) -> Config:
        return load_config(write("run.yaml", base + text), overrides)

    return load
