"""One batch through everything, and nothing left behind."""

import json
import logging
import tempfile

import pytest
from test_run import TOOL, config

from segkit.engine import dry_run as module
from segkit.engine.dry_run import dry_run
from segkit.utils.errors import SegkitError

SMALLER = ["model.roi_heads.box_head.fc_dims=[32]", "model.roi_heads.mask_head.conv_dims=[16]", "data.batch_size=1"]


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
        dry_run(config(tmp_path / "out", *SMALLER, "train.accumulate=2", "train.ema_decay=0.9"))
    ((iteration, metrics),) = kept
    assert iteration == 1 and "segm/AP" in metrics and metrics["loss/total"] > 0
    assert not (tmp_path / "out").exists() and not list((tmp_path / "tmp").iterdir())
    for text in (
        "evaluated 1 images",
        "a step of 2 images",
        "read back",
        "pictures: drawn",
        "model_best.pth",
        "peak memory",
    ):
        assert text in caplog.text, text


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/run"):
        with pytest.raises(SegkitError, match=r"output_dir: .*file' is a file, not a folder"):
            dry_run(config(tmp_path / folder))
    with pytest.raises(SegkitError, match=r"output_dir: '~nobody_at_all/x' cannot be created"):
        dry_run(config("~nobody_at_all/x"))


@pytest.mark.parametrize("override", ["train.init_weights=/no/such.pth", "train.best_metric=segm/PA"])
def test_errors_are_those_of_the_run(tmp_path, override):
    with pytest.raises(SegkitError, match=override.partition("=")[2]):
        dry_run(config(tmp_path, override))


def test_the_flag(capsys):
    import importlib.util

    spec = importlib.util.spec_from_file_location("train_net", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.parse_arguments(["--config-file", "f.yaml", "--dry-run", "a=1"]).dry_run
    for other in ("--resume", "--eval-only"):
        with pytest.raises(SystemExit):
            tool.parse_arguments(["--config-file", "f.yaml", "--dry-run", other])
        assert "--dry-run tries the start of a run" in capsys.readouterr().err
