import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for fakes.py


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    """Figures of the evaluation take longer than a short run; the run of test_run.py, in a fixture, draws them."""
    for module in ("segkit.engine.hooks.pictures", "segkit.engine.run"):
        monkeypatch.setattr(f"{module}.draw_figures", lambda folder: [])
