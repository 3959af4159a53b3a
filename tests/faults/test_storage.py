"""Disks that are full, folders that cannot be written to, files that are not as they were written, two runs at once."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import torch
from fakes import make_trainer
from forks import assert_same, end, go_on, start, whole_run

from segkit.engine.checkpoint import (
    BackgroundWriter,
    find_last_checkpoint,
    host_copy,
    read_checkpoint,
    save_checkpoint,
    superseded,
)
from segkit.engine.hooks import Hook, PeriodicCheckpoint
from segkit.engine.resume import newest_good_checkpoint
from segkit.engine.run_dir import full_disk_errors, lock_run_dir, make_run_dir, refuse_earlier_run
from segkit.utils.archives import damage
from segkit.utils.errors import SegkitError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("whole"))


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    state = {"model": {"w": torch.arange(7.0)}, "iteration": 3}
    path = tmp_path / "model.pth"
    save_checkpoint(path, state)
    whole, noticed = path.read_bytes(), 0
    assert damage(path) is None
    for position in range(len(whole)):
        flip(path, position)
        try:
            read = read_checkpoint(path)
        except SegkitError:
            noticed += 1
        else:
            assert read["iteration"] == 3 and torch.equal(read["model"]["w"], state["model"]["w"]), position
        path.write_bytes(whole)
    assert noticed > 0.4 * len(whole)  # the rest is padding
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(SegkitError, match="damaged"):
            read_checkpoint(path)


def test_the_newest_good_checkpoint(tmp_path, whole, caplog):
    for path in whole[2].iterdir():
        shutil.copy(path, tmp_path)
    final = tmp_path / "model_final.pth"
    flip(final, final.read_bytes().index(torch.load(final)["model"]["layers.0.weight"].numpy().tobytes()) + 3)
    path, state = newest_good_checkpoint(tmp_path)
    best = read_checkpoint(tmp_path / "model_best.pth")["iteration"]
    assert state["iteration"] == max(10, best) and str(path) in caplog.text
    assert re.search(r"model_final.pth' is damaged: .*record .*data/\d+", caplog.text)
    assert_same(tmp_path, go_on(tmp_path), whole)
    for path in tmp_path.glob("*.pth"):
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SegkitError, match=r"no checkpoint can be resumed from: .*model_0000005.pth"):
        newest_good_checkpoint(tmp_path)


@pytest.mark.parametrize("note", [b"\xffodel_final.pth\n", b"model\0final.pth\n", b"\0\0\0", b""])
def test_a_damaged_note_of_the_last_checkpoint(tmp_path, whole, note, caplog):
    for path in whole[2].iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "last_checkpoint").write_bytes(note)
    path, state = newest_good_checkpoint(tmp_path)
    assert state["iteration"] == 12
    assert "no checkpoint at" in caplog.text and f"the newest good checkpoint is {path}" in caplog.text
    with pytest.raises(SegkitError, match="holds an earlier run"):
        refuse_earlier_run(tmp_path)


def test_from_the_best_checkpoint_alone(tmp_path, whole):
    """It was saved amid the hooks of its iteration; the others run where it is gone on from."""
    trainer = make_trainer(tmp_path, checkpoint_period=100)

    class Kill(Hook):
        def before_step(self, trainer):
            if trainer.iteration == 5:
                trainer.consistent = False  # as with kill -9: nothing is saved now
                raise KeyboardInterrupt

    trainer.hooks.append(Kill())
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_best.pth"]
    _, state = newest_good_checkpoint(tmp_path)
    assert state["iteration"] == 4 and state["pending"][:3] == ["BestCheckpoint", "Writers", "PeriodicCheckpoint"]
    assert_same(tmp_path, go_on(tmp_path), whole)


def test_what_is_kept(tmp_path):
    for iteration in (2, 4, 6, 8, 10, 12, 99):
        (tmp_path / f"model_{iteration:07d}.pth").touch()
    for name in ("model_best.pth", "model_final.pth", "model_12.pth"):
        (tmp_path / name).touch()

    def dropped(*policy):
        return [int(path.stem[6:]) for path in superseded(tmp_path, 12, *policy)]

    assert dropped(None) == [] and dropped(3) == [2, 4, 6] and dropped(3, 4) == [2, 6] and dropped(9) == []
    make_trainer(tmp_path / "run", checkpoint_period=2, keep_checkpoints=1, keep_every=4).train()
    assert sorted(path.name for path in (tmp_path / "run").glob("model_0*")) == [
        "model_0000004.pth", "model_0000008.pth", "model_0000010.pth",
    ]  # fmt: skip
    with pytest.raises(SegkitError, match=r"train.keep_every: 5 .* multiple of the 2"):
        PeriodicCheckpoint(2, keep_every=5)


class Limit(Hook):
    """From an iteration on no file can be longer than ``size``, as on a full disk."""

    def __init__(self, at, size):
        self.at, self.size = at, size

    def before_step(self, trainer):
        if trainer.iteration == self.at:
            trainer.hooks[-1].writer.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


def test_a_full_disk(tmp_path, whole, capfd):
    assert end(start(lambda: make_trainer(tmp_path, extra=[Limit(6, 3000)]).train())) == 1
    error = capfd.readouterr().err
    assert re.search(
        r"error: '.*model_.*' could not be written: File too large; the last good checkpoint is .*model_0000005", error
    )
    assert "Traceback" not in error and damage(find_last_checkpoint(tmp_path)) is None
    assert not list(tmp_path.glob(".*tmp*"))
    assert_same(tmp_path, go_on(tmp_path), whole)


def test_a_full_disk_for_the_metrics(tmp_path, whole, capfd):
    def run():
        with full_disk_errors(tmp_path):
            make_trainer(tmp_path, extra=[Limit(5, 700)]).train()

    assert end(start(run)) == 1
    error = capfd.readouterr().err
    assert re.search(r"error: '.*' cannot be written: File too large; the last good checkpoint is .*model_00", error)
    assert_same(tmp_path, go_on(tmp_path), whole)


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    for error in (FileNotFoundError(2, "no", "x"), PermissionError(13, "no", "/elsewhere/image.png"), ValueError("no")):
        with pytest.raises(type(error)), full_disk_errors(tmp_path):
            raise error


@pytest.fixture
def locked_folder():
    """A folder that can be made read-only, also where root runs the tests: it then becomes another user."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    user = os.geteuid()
    if user == 0:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    yield folder
    folder.chmod(0o755)
    if user == 0:
        os.seteuid(0)
    shutil.rmtree(folder)


def test_a_read_only_folder(locked_folder):
    locked_folder.chmod(0o555)
    message = r"output_dir: '.*' cannot be written to: Permission denied"
    with pytest.raises(SegkitError, match=message), lock_run_dir(make_run_dir(locked_folder)):
        pytest.fail("not locked")


def test_a_folder_that_becomes_read_only(locked_folder, whole):
    class Lock(Hook):
        def before_step(self, trainer):
            if trainer.iteration == 6:
                trainer.hooks[-1].writer.wait()
                locked_folder.chmod(0o555)

    with pytest.raises(SegkitError, match=r"could not be written: .*Permission denied; .*good .*model_0000005.pth"):
        make_trainer(locked_folder, extra=[Lock()]).train()
    locked_folder.chmod(0o755)
    assert_same(locked_folder, go_on(locked_folder), whole)


def test_two_runs_on_one_folder(tmp_path):
    """The lock is gone with the process that had it, also where that was killed."""
    (tmp_path / ".model_0000001.7.tmp.pth").touch()
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / ".trace_0000017.json.7.tmp.gz").touch()

    def hold():
        with lock_run_dir(tmp_path):
            (tmp_path / "ready").touch()
            time.sleep(60)

    pid = start(hold)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    assert not list(tmp_path.glob(".model*")) and not list((tmp_path / "profile").iterdir())
    with pytest.raises(SegkitError, match=rf"in use by another run \(process {pid} on"), lock_run_dir(tmp_path):
        pytest.fail("two runs")
    os.kill(pid, signal.SIGKILL)
    end(pid)
    with lock_run_dir(tmp_path):
        pass


def test_a_folder_with_a_run_is_refused(tmp_path):
    refuse_earlier_run(tmp_path)
    (tmp_path / "metrics.json").touch()  # of a run that failed before its first line
    refuse_earlier_run(tmp_path)
    make_trainer(tmp_path, iterations=3, val_loader=None).train()
    message = r"holds an earlier run \(its last checkpoint is model_final.pth\). --resume .* --restart"
    with pytest.raises(SegkitError, match=message):
        refuse_earlier_run(tmp_path)


def test_background_writer():
    writer, done = BackgroundWriter(), []

    def fail():
        raise OSError("full")

    for number in range(3):
        writer.submit(lambda number=number: (time.sleep(0.01), done.append(number)))
    writer.wait()
    assert done == [0, 1, 2]
    writer.submit(fail)
    with pytest.raises(OSError, match="full"):
        writer.submit(lambda: done.append(3))
    writer.wait()  # an error is raised once
    assert done == [0, 1, 2]


WRITING = """
import sys, time
from segkit.engine.checkpoint import BackgroundWriter

def write():
    time.sleep(0.3)  # the main thread has ended meanwhile
    with open(sys.argv[1], "w") as file:
        file.write("all of it")

BackgroundWriter().submit(write)
sys.exit(3)
"""


def test_the_end_of_the_program_waits_for_a_write(tmp_path):
    done = subprocess.run([sys.executable, "-c", WRITING, str(tmp_path / "file")], timeout=100)
    assert done.returncode == 3 and (tmp_path / "file").read_text() == "all of it"


def test_check_does_not_wait():
    writer, go = BackgroundWriter(), threading.Event()

    def fail():
        go.wait()
        raise OSError("full")

    writer.submit(fail)
    writer.check()
    go.set()
    with pytest.raises(OSError, match="full"):
        writer.wait()
    writer.check()  # an error is raised once


def test_the_copy_is_no_view():
    state = {"a": [torch.zeros(2), (torch.ones(1), "x")], "n": 3}
    copy = host_copy(state)
    state["a"][0] += 1
    state["a"][1][0].fill_(7)
    assert copy["a"][0].tolist() == [0, 0] and copy["a"][1][0].item() == 1 and copy["a"][1][1] == "x" and copy["n"] == 3
