"""Mistakes on the command line: the nearest valid word, and the exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segkit.cli import config, predict, train
from segkit.config.loader import load_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("tran", ["'tran'", "'train'", "segkit --help"]),
        ("test", ["'test'", "'eval'"]),
        ("train_net --config-file x", ["'train_net'", "'train'"]),
        ("describe_config", ["'config'"]),
        ("xyz", ["'xyz'", "train", "predict", "doctor"]),
        ("--versoin", ["'--versoin'", "'--version'"]),
        ("config lst", ["segkit config", "'lst'", "'list'"]),
        ("train --config-flie a.yaml", ["'--config-flie'", "'--config-file'", "segkit train --help"]),
        ("train --config_file=a.yaml", ["'--config_file'", "'--config-file'"]),
        ("train a.yaml --evalonly", ["'--evalonly'", "'--eval-only'"]),
        ("eval a.yaml --resume", ["'--resume'"]),
        ("train", ["segkit://quickstart.yaml"]),
        ("train train.epochs=1", ["segkit://quickstart.yaml"]),
        ("train quikstart", ["'quikstart'", "'quickstart'"]),
        ("train a.yaml b.yaml --config-file c.yaml", ["'c.yaml'", "'a.yaml'"]),
        ("train a.yaml --dry-run --resume", ["--dry-run", "--resume"]),
        ("train a.yaml --dry-run --num-gpus 2", ["--dry-run", "--num-gpus"]),
        ("train a.yaml --num-gpus two", ["--num-gpus", "'two'"]),
        ("predict x.png", ["--weights", "--output"]),
        ("predict x.png --weight w --output o --scorethreshold 1", ["'--scorethreshold'", "'--score-threshold'"]),
        ("predict x.png --weights w --output o --color-by pixel", ["'pixel'", "instance"]),
        ("analyze", ["--config-file"]),
        ("benchmark", ["PART"]),
        ("benchmark train --devise cpu", ["'--devise'", "'--device'"]),
        ("train a.yaml --dist-url tcp://a:1", ["'--dist-url'", "--master-address"]),
        ("train a.yaml --epochs 3", ["'--epochs'", "train.epochs=N"]),
        ("train a.yaml --batch_size 3", ["'--batch_size'", "data.batch_size=N"]),
        ("train a.yaml --opts train.epochs=3", ["'--opts'", "KEY=VALUE"]),
        ("train data=coco8.yaml model=x.pt", ["'data=coco8.yaml'", "Ultralytics", "segkit://quickstart.yaml"]),
        ("predict --input x.png --weights w --output o", ["--input", "the images"]),
        ("eval results.json", ["'results.json'", "--data DATA", "--id-map JSON"]),
        ("eval no/run", ["'no/run' does not exist", "the folder of a run"]),
        ("train /", ["'/' is no folder of a run", "segkit fit /"]),
        ("study", ["are required: FILE\n"]),
        ("report run --output a.pdf", ["--output", "'a.pdf'", "report.html"]),
        ("predict x.png --weights w --output o --confidence-threshold 1", ["--score-threshold"]),
        ("--config-file a.yaml", ["'--config-file'", "segkit train --config-file"]),
        ("segment train", ["'segment'", "'train'"]),
        ("doctor now", ["'now'"]),
    ],
)
def test_usage(segkit_command, words, parts):
    status, out, error = segkit_command(*words.split())
    assert status == 2 and not out and "Traceback" not in error
    assert len(error.splitlines()) == 2
    for part in parts:
        assert part in error


@pytest.mark.parametrize("words", [[], ["config"]])
def test_without_a_command_the_help_is_shown(segkit_command, words):
    status, out, error = segkit_command(*words)
    assert status == 2 and not out and "usage: segkit" in error and "examples:" in error


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("train none.yaml", ["'none.yaml'"]),
        ("train quickstart model.backbone.widht=3", ["model.backbone.widht", "command line", "'width'"]),
        ("eval quickstart train.epoch=3", ["train.epoch", "'train.epochs'"]),
        (
            "train quickstart writers=[{name:WandB}]",
            ["writers.0", "'name' is missing", "after the colon, as name: NAME"],
        ),
        ("predict none.png --weights w.pth --output o", ["none.png"]),
        ("predict none.png --weights w.pth --output o --batch-size 0", ["--batch-size", "at least 1"]),
        ("config show none.yaml", ["'none.yaml'"]),
        ("config components BACKBON", ["'BACKBON'", "'BACKBONE'"]),
        ("config schema --output /", ["--output", "'/'"]),
        ("analyze quickstart --batch 0", ["--batch", "at least 1"]),
        ("benchmark trian", ["'trian'", "'train'"]),
    ],
)
def test_mistakes_in_what_is_asked_for(segkit_command, words, parts, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, out, error = segkit_command(*words.split())
    assert status == 1 and not out and "Traceback" not in error
    assert error.count("error:") == 1 and len(error.splitlines()) == 1
    for part in parts:
        assert part in error


def test_a_folder_of_runs_is_no_run(segkit_command, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first/config.yaml").touch()
    for words in (["report"], ["dataset", "label-errors", "--split", "train"]):
        error = segkit_command(*words, tmp_path)[2]
        assert "is no run" in error and f"it holds the runs {tmp_path / 'first'}" in error


def test_the_folder_of_a_run_stands_for_its_configuration(tmp_path):
    run = tmp_path / "my: run"  # moved since
    run.mkdir()
    (run / "config.yaml").write_text("_BASE_: segkit://quickstart.yaml\noutput_dir: output/before\n")
    for words in ([str(run), "train.epochs=3"], ["--config-file", str(run), "train.epochs=3"]):
        options = train.parse_arguments(words)
        cfg = load_config(options.config_file, options.opts)
        assert (cfg.output_dir, cfg.train.epochs) == (str(run), 3)
    options = train.parse_arguments([str(run), "output_dir=other"])
    assert load_config(options.config_file, options.opts).output_dir == "other"


def test_ctrl_c(segkit_command, monkeypatch):
    monkeypatch.setattr(config, "print_list", lambda: os.kill(os.getpid(), signal.SIGINT))
    assert segkit_command("config", "list") == (130, "", "interrupted\n")


@pytest.mark.parametrize("words", [["--help"], ["config", "list"], ["doctor", "--help"]])
def test_a_reader_that_went_away(words):
    read, write = os.pipe()
    os.close(read)
    command, env = [sys.executable, "-m", "segkit", *words], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=env, timeout=60)
    os.close(write)
    assert done.stderr == b""


def test_options_and_overrides_may_alternate():
    words = [
        "quickstart",
        "a.b",
        "-1",
        "--resume",
        "c=-2",
        "--num-gpus",
        "2",
        "solver.clip_norm",
        "-1e-3",
        "--weights",
        "w",
    ]
    options = train.parse_arguments(words)
    assert options.opts == ["a.b", "-1", "c=-2", "solver.clip_norm", "-1e-3"]
    assert options.resume and options.num_gpus == 2 and options.weights == "w"
    options = predict.parse_arguments(
        ["a.png", "--weights", "w", "b.png", "--output", "o", "--opts", "c", "-1", "--device", "cpu"]
    )
    assert options.inputs == ["a.png", "b.png"] and options.opts == ["c", "-1"]
