"""The README is true: its commands run (shortened), its configuration loads, its links lead somewhere."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

import segkit
from segkit.utils.cli import run_cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORT = ["train.iterations=1", "data.num_workers=0", "data.train.num_images=20"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def run(arguments, monkeypatch):
    """Run one of the tools in this process; the status it ends with."""
    script = ROOT / arguments[0]
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        options = module.parse_arguments()
        run_cli(lambda: module.main(options))
    return ended.value.code


def test_commands(monkeypatch, tmp_path, capsys):
    """In the order of the page, each going on from the one before."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(next(block for block in blocks("yaml") if "mine.yaml" in block))
    commands = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    lines = [words[1:] for words in commands if words[0] == "python" and words[1].startswith("tools/")]
    assert len(lines) >= 7
    for words in lines:
        shortened = list(words)
        if "tools/train_net.py" in words:
            if "examples/extending/train.yaml" in words:
                continue  # tests/examples
            shortened += SHORT
        if "tools/predict.py" in words:
            glob = next(word for word in words if "*" in word)
            found = sorted(map(str, tmp_path.glob(glob)))[:2]
            assert found
            shortened = [word for word in words if word != glob] + found
        if "tools/analyze_model.py" in words:
            shortened += ["--size", "64", "64", "--runs", "1"]
        if "tools/benchmark.py" in words:
            shortened += ["--config-file", "mine.yaml", "--no-memory", "--runs", "1", "--size", "64", "64"]
            shortened += ["--batch", "1", "--objects", "2"]
        assert run(shortened, monkeypatch) == 0, words
    assert list((tmp_path / "predictions").rglob("*.png"))
    check_python(tmp_path, found[0])


def check_python(folder, image):
    """The block on the Predictor, as it stands."""
    code = next(block for block in blocks("python") if "Predictor" in block).replace('"image.png"', repr(image))
    values = {}
    exec(compile(code, "README.md", "exec"), values)
    assert isinstance(values["detections"], segkit.Detections)


def test_other_commands_are_run_elsewhere():
    """.ci/run runs the two first ones, tests/examples the last."""
    gate = (ROOT / ".ci/run").read_text()
    first, second = blocks("bash")[:2]
    install, train = first.strip().split(" && ")
    assert install.removeprefix("pip install ") in gate and train in gate
    assert ".[test" in gate and "\npytest" in gate and second.strip() == "pip install -e '.[test]' && pytest"


def test_the_error_is_what_is_printed():
    with pytest.raises(segkit.SegkitError) as raised:
        segkit.load_config("segkit://quickstart.yaml", ["model.backbone.widht=3"])
    assert f"error: {raised.value}" in README


def test_names_are_registered():
    table = README.split("| part | names |")[1].split("\n\n")[0]
    known = {
        name
        for registry in vars(segkit.registry).values()
        if isinstance(registry, segkit.Registry)
        for name in registry.names()
    }
    for name in re.findall(r"`([A-Z]\w+)`", table):
        assert name in known, name


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links(target):
    assert (ROOT / target).exists()
