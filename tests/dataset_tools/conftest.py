"""A data set without faults, to plant some."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for planted.py
from planted import World


@pytest.fixture(scope="session")
def clean_world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def annotated(clean_world):
    """The clean world with JSON files of its own; its images must not change."""
    before = copy.deepcopy(clean_world.coco)
    yield clean_world
    clean_world.coco = before
