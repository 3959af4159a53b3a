"""How long processes wait for each other: for a slow one long, for one that died not at all."""

from datetime import timedelta

import process_runner
import processes
import pytest
import torch
from process_runner import run_in_processes

from segkit.config import load_config
from segkit.engine import run
from segkit.utils import distributed
from segkit.utils.errors import SegkitError


@pytest.fixture
def asked(monkeypatch):
    """The backends and seconds that torch is asked for."""
    found = []

    def note(backend, timeout):
        found.append((backend, timeout / timedelta(seconds=1)))

    monkeypatch.setattr(torch.distributed, "init_process_group", note)
    monkeypatch.setattr(torch.distributed, "new_group", lambda *, backend, timeout: note(backend, timeout))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with process_runner.environment(WORLD_SIZE="2", RANK="0", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="1"):
        yield found


@pytest.mark.parametrize(
    ("device", "timeout", "expected"),
    [
        ("cuda", 1800.0, [("nccl", 1800), ("gloo", 7200)]),
        ("cuda", 60.0, [("nccl", 60), ("gloo", 7200)]),
        ("cuda", 86400.0, [("nccl", 86400), ("gloo", 86400)]),
        ("cuda", 0.5, [("nccl", 0.5), ("gloo", 7200)]),
        ("cpu", 60.0, [("gloo", 7200)]),
        ("cpu", 10000.0, [("gloo", 10000)]),
    ],
)
def test_the_seconds_that_are_waited(asked, device, timeout, expected):
    with distributed.process_group(torch.device(device), timeout):
        pass
    assert asked == expected


@pytest.mark.parametrize(("text", "seconds"), [("", 1800), ("train.distributed_timeout=3600", 3600)])
def test_a_run_waits_as_its_configuration_says(tmp_path, monkeypatch, text, seconds):
    class Reached(Exception):
        pass

    def group(device, timeout):
        raise Reached(timeout)

    monkeypatch.setattr(run.distributed, "process_group", group)
    overrides = ["train.device=cpu", f"output_dir={tmp_path}", *([text] if text else [])]
    with pytest.raises(Reached, match=rf"^{seconds}\.0$"):
        run.train(load_config("segkit://quickstart.yaml", overrides))


@pytest.mark.parametrize("value", ["0", "-1", ".nan", ".inf", "soon", "null"])
def test_what_is_no_number_of_seconds(value):
    with pytest.raises(SegkitError, match=r"train.distributed_timeout"):
        load_config("segkit://quickstart.yaml", [f"train.distributed_timeout={value}"])


def test_a_slow_process_is_waited_for(tmp_path):
    """Longer than the time-out of operations on a device, where it is between the hosts."""
    found = run_in_processes(processes.wait_for_a_slow_one, 2, 2.0, timeout=300)  # a hang, not a slow machine
    assert found == [([2, 0], 1)] * 2
