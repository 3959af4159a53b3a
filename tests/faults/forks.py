"""Runs in a process of their own, which may be killed: a fork has torch imported already."""

import os
import signal
import time
import traceback

import torch
from fakes import lines, make_trainer

from segkit.engine.resume import newest_good_checkpoint
from segkit.utils.cli import run_cli


def start(function):
    """Runs ``function`` in a fork; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        torch.set_num_threads(1)
        run_cli(function)
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def end(pid, limit=60):
    """Waits for a process; its exit status, negative for the signal that killed it."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the process did not end")


def go_on(folder, **settings):
    """What ``--resume`` does: from the newest good checkpoint, or from the beginning."""
    _, state = newest_good_checkpoint(folder) or (None, None)
    trainer = make_trainer(folder, state=state, **settings)
    trainer.train()
    return trainer


def assert_same(folder, trainer, whole):
    """The metrics and weights of a run that nothing happened to, bit for bit."""
    assert lines(folder) == whole[0]
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, whole[1][name]), name


def whole_run(folder, **settings):
    """Metrics, weights and folder of a run that nothing happens to."""
    trainer = make_trainer(folder, **settings)
    trainer.train()
    return lines(folder), trainer.model.state_dict(), folder
