"""One batch through everything, and nothing left behind."""

import json
import logging
import tempfile

import pytest
from test_setup import SMALL, _logging, config  # noqa: F401  # a fixture

from segkit.engine import dry_run as module
from segkit.engine.dry_run import dry_run
from segkit.utils.errors import SegkitError


def test_everything_happens_and_nothing_stays(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    kept = []
    restore = module.restore

    def look(trainer, state):
        kept.append((state["iteration"], json.loads((trainer.output_dir / "metrics.json").read_text())))
        restore(trainer, state)

    monkeypatch.setattr(module, "restore", look)
    with caplog.at_level(logging.INFO):
        dry_run(config(tmp_path / "out", "train.accumulate=2", "train.ema_decay=0.9"))
    ((iteration, metrics),) = kept
    assert iteration == 1 and "segm/AP" in metrics and metrics["loss/total"] > 0
    assert not (tmp_path / "out").exists() and not list((tmp_path / "tmp").iterdir())
    for text in (
        "evaluated 1 images",
        "a step of 4 images",
        "read back",
        "pictures: drawn",
        "model_best.pth",
        "peak memory",
    ):
        assert text in caplog.text, text


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/run"):
        with pytest.raises(SegkitError, match=r"output_dir: .*file' is no folder"):
            dry_run(config(tmp_path / folder))
    with pytest.raises(SegkitError, match=r"output_dir: '~nobody_at_all/x' cannot be made"):
        dry_run(config("~nobody_at_all/x"))


@pytest.mark.parametrize("override", ["train.init_weights=/no/such.pth", "train.best_metric=segm/PA"])
def test_errors_are_those_of_the_run(tmp_path, override):
    with pytest.raises(SegkitError, match=override.partition("=")[2]):
        dry_run(config(tmp_path, override))
