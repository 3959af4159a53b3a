"""``segkit report`` and the report at the end of a training."""

from __future__ import annotations

import logging
import os
import shutil

import pytest
from finished_runs import SMALL
from page_parser import Page

from segkit.cli.main import main
from segkit.engine.run_dir import set_aside_earlier_run
from segkit.report.after_training import report_after_training
from segkit.utils.errors import SegkitError

QUICK = ["--resamples", "10", "--images", "1"]


def test_the_page_is_in_the_folder_of_the_run(run_dir, tmp_path, capsys):
    folder = shutil.copytree(run_dir, tmp_path / "run")
    main(["report", str(folder), *QUICK])
    assert f"{folder}/report.html" in capsys.readouterr().out and (folder / "report.html").stat().st_size > 10_000


def test_a_results_file_with_its_data(coco_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["report", "results.json", "--data", "data.json", "--output", "page.html", *QUICK])
    assert "page.html" in capsys.readouterr().out and (tmp_path / "page.html").is_file()


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["{tmp}"], "no config.yaml"),
        (["{tmp}/nothing"], "nothing"),
        (["{run}/log.txt"], "expected the folder of a run.*--data"),
        (["{run}", "--data", "{tmp}"], "--data is the ground truth of results files"),
        (["{run}", "{run}", "--output", "{tmp}/log.txt/a.html"], "log.txt"),
    ],
)
def test_mistakes_are_named(run_dir, tmp_path, words, fact):
    (tmp_path / "log.txt").write_text("")
    words = [word.format(tmp=tmp_path, run=run_dir) for word in words]
    with pytest.raises(SegkitError, match=fact):
        main(["report", *words, *QUICK])


def test_a_run_that_was_not_evaluated(run_dir, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(run_dir / "config.yaml", tmp_path / "run")
    with pytest.raises(SegkitError, match=r"has not been evaluated.*segkit eval"):
        main(["report", str(tmp_path / "run")])


@pytest.mark.parametrize("words", [["a", "--images", "-1"], ["a", "--split", "val"], []])
def test_wrong_arguments_end_with_status_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", *words])
    assert ended.value.code == 2 and "segkit report" in capsys.readouterr().err


def test_the_end_of_a_training(run_dir, tmp_path, monkeypatch, caplog):
    folder = shutil.copytree(run_dir, tmp_path / "run")
    with caplog.at_level(logging.INFO):
        assert report_after_training(folder) == folder / "report.html"
    assert "report.html" in caplog.text and (folder / "report.html").is_file()
    (folder / "report.html").unlink()
    monkeypatch.setenv("RANK", "1")
    assert report_after_training(folder) is None
    monkeypatch.delenv("RANK")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("report: true", "report: false"))
    assert report_after_training(folder) is None and not (folder / "report.html").exists()


def test_a_report_that_fails_is_a_warning(run_dir, tmp_path, monkeypatch, caplog):
    folder = shutil.copytree(run_dir, tmp_path / "run")

    def broken(*arguments, **named):
        raise RuntimeError("broken")

    monkeypatch.setattr("segkit.report.after_training.write_report", broken)
    assert report_after_training(folder) is None
    assert "report.html could not be made (RuntimeError: broken)" in caplog.text
    shutil.rmtree(folder / "inference")
    assert report_after_training(folder) is None


def test_an_earlier_report_is_set_aside(run_dir, tmp_path):
    folder = shutil.copytree(run_dir, tmp_path / "run")
    (folder / "report.html").write_text("old")
    set_aside_earlier_run(folder)
    assert (folder / "previous_1/report.html").read_text() == "old" and not (folder / "report.html").exists()


def test_a_training_ends_with_a_report(tmp_path, monkeypatch):
    """After ``--resume`` of a finished run without one, too; not with ``train.report=false``."""
    monkeypatch.chdir(tmp_path)
    words = ["train", "quickstart", "output_dir=run", "train.device=cpu", *SMALL]
    main([*words, "train.report=false"])
    report = tmp_path / "run/report.html"
    assert (tmp_path / "run/inference").is_dir() and not report.exists()
    main([*words, "--resume"])
    assert "TinyNet" in Page(report.read_text()).sections["summary"]
    first = report.stat().st_mtime_ns
    assert str(report_after_training("run")) == os.path.join("run", "report.html")
    assert report.stat().st_mtime_ns == first  # nothing has changed, so that it is not made again


@pytest.mark.parametrize(
    "words", [["train", "quickstart", "--dry-run"], ["eval", "quickstart"], ["fit", "data", "--dry-run"]]
)
def test_no_report_without_a_training(words, monkeypatch):
    called = []
    monkeypatch.setattr("segkit.report.after_training.report_after_training", called.append)
    monkeypatch.setattr("segkit.engine.dry_run.dry_run", lambda *arguments, **named: None)
    monkeypatch.setattr("segkit.engine.run.train", lambda *arguments, **named: {})
    monkeypatch.setattr("segkit.dataset_tools.fit.fit", lambda *arguments, **named: {})
    main(words)
    assert called == []
    main(["train", "quickstart", "output_dir=there"])
    main(["fit", "data", "--output", "here"])
    assert str(called[0]) == "there" and str(called[1]).endswith("here")
