"""Settings for all tests: GPU tests skip without a GPU; two processes run them, with a thread each."""

import logging
import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; for what the tests start, too

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it puts into the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    import torch

    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if item.get_closest_marker("slow") and "slow" not in (config.getoption("-m") or ""):
            item.add_marker(pytest.mark.skip(reason="run with -m slow"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Hides the GPUs and skips the rendering of figures, also in fixtures, where a test is not about them.

    What a test says of the CPU holds on any machine, and figures are most of the time of a run of a few steps.
    """
    import torch

    with pytest.MonkeyPatch.context() as patch:
        if not item.get_closest_marker("gpu"):
            patch.setenv("CUDA_VISIBLE_DEVICES", "")
            patch.setattr(torch.cuda, "is_available", lambda: False)
            patch.setattr(torch.cuda, "device_count", lambda: 0)
        if not item.get_closest_marker("figures"):
            patch.setattr("matplotlib.figure.Figure.savefig", _save_blank)
        return (yield)


def _save_blank(figure, file, **settings):
    """Writes a figure's file, without the figure."""
    if Path(file).suffix.lower() == ".svg":
        Path(file).write_text('<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>')
    else:
        from PIL import Image

        Image.new("RGB", (8, 8), "white").save(file)


@pytest.fixture(autouse=True)
def _seeded():
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _logging_as_before():
    """What a run set up, in a test or a fixture, would go on writing into its log in the tests that follow."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in [h for h in root.handlers if h not in before or getattr(h, "segkit", False)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def draw_objects():
    """A function (count, height, width, seed) -> bool [N, H, W]: ellipses, noise, single pixels, empty and full."""

    import numpy as np
    import torch

    def draw(count, height, width, seed=0):
        rng = np.random.default_rng(seed)
        dense = np.zeros((count, height, width), bool)
        y, x = np.mgrid[:height, :width] + 0.5
        for image in dense:
            kind = rng.choice(
                ["ellipse", "border", "noise", "pixel", "empty", "full", "box"], p=[0.4, 0.1, 0.1, 0.1, 0.1, 0.05, 0.15]
            )
            cy, cx = rng.uniform(0, height), rng.uniform(0, width)
            ry, rx = rng.uniform(0.5, max(1, height / 3)), rng.uniform(0.5, max(1, width / 3))
            if kind == "ellipse":
                image[:] = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
            elif kind == "border":
                image[:] = (y < ry) & (np.abs(x - cx) < rx)
            elif kind == "noise":
                image[:] = (rng.random(image.shape) < 0.3) & (np.abs(x - cx) < rx)
            elif kind == "pixel":
                image[int(cy), int(cx)] = True
            elif kind == "full":
                image[:] = True
            elif kind == "box":
                image[:] = (np.abs(y - cy) < ry) & (np.abs(x - cx) < rx)
        return torch.from_numpy(dense)

    return draw
