"""Settings for all tests: GPU tests skip without a GPU, and one thread a test keeps timings and memory small."""

import os

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_collection_modifyitems(config, items):
    import torch

    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if item.get_closest_marker("slow") and "slow" not in (config.getoption("-m") or ""):
            item.add_marker(pytest.mark.skip(reason="run with -m slow"))


@pytest.fixture(autouse=True)
def _seeded():
    import torch

    torch.manual_seed(0)
