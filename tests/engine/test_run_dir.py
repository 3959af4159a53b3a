"""The directory of a run."""

import pytest

from segkit.engine.run_dir import make_run_dir, set_aside_earlier_run
from segkit.utils.errors import SegkitError


def test_earlier_runs_are_set_aside(tmp_path):
    folder = make_run_dir(tmp_path / "run")
    set_aside_earlier_run(folder)
    assert not list(folder.iterdir())
    for number in (1, 2):
        for name in ("model_final.pth", "last_checkpoint", "metrics.json", "log.txt"):
            (folder / name).write_text(f"{number}")
        (folder / "inference").mkdir()
        set_aside_earlier_run(folder)
        (folder / "log.txt").unlink()
    assert sorted(p.name for p in folder.iterdir()) == ["previous_1", "previous_2"]
    assert (folder / "previous_2" / "metrics.json").read_text() == "2"
    assert (folder / "previous_1" / "inference").is_dir()


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SegkitError, match=r"output_dir: .*file"):
        make_run_dir(tmp_path / "file" / "run")
