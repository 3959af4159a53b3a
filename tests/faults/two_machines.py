#!/usr/bin/env python
"""Two launchers, each in a network namespace of its own (root, Linux) or both on this machine: trains, lets a process of
the second one die, and resumes.

python tests/faults/two_machines.py              # two namespaces, joined by a virtual cable
python tests/faults/two_machines.py --loopback   # two launchers on this machine
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "data.train={format: synthetic, num_images: 40, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 0}",
    "data.val={format: synthetic, num_images: 5, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 9}",
    "data.num_workers=0", "data.batch_size=4", "model.neck.out_channels=16", "train.device=cpu", "train.log_period=1",
    "train.eval_period=6", "train.checkpoint_period=5", "train.report=false",
]  # fmt: skip
ITERATIONS = 12


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def two_namespaces() -> Iterator[tuple[list[list[str]], str, list[dict[str, str]]]]:
    """Where each launcher's command begins, the first one's address, and the environments."""
    names = [f"segkit-{os.getpid()}-{i}" for i in (0, 1)]
    cards = [f"sk{os.getpid() % 100000}{i}" for i in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cards[0], "type", "veth", "peer", "name", cards[1])
        for i, (name, card) in enumerate(zip(names, cards, strict=True)):
            ip("link", "set", card, "netns", name)
            ip("-n", name, "addr", "add", f"10.77.0.{i + 1}/24", "dev", card)
            ip("-n", name, "link", "set", card, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield (
            [["ip", "netns", "exec", name] for name in names],
            "10.77.0.1:29500",
            [{"GLOO_SOCKET_IFNAME": card} for card in cards],
        )
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)  # takes the cable with it


@contextmanager
def loopback() -> Iterator[tuple[list[list[str]], str, list[dict[str, str]]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    yield [[], []], f"127.0.0.1:{port}", [{}, {}]


def launch(machines: tuple, folder: Path, processes: int, *arguments: str) -> list[subprocess.Popen]:
    prefixes, address, environments = machines
    command = [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file", "segkit://quickstart.yaml"]
    command += ["--num-gpus", str(processes), "--num-machines", "2", "--master-address", address]
    command += [*arguments, *SMALL, f"output_dir={folder}"]
    return [
        subprocess.Popen(
            [*prefixes[rank], *command, "--machine-rank", str(rank)],
            env={**os.environ, **environments[rank], "OMP_NUM_THREADS": "1"},
            stdout=open(f"{folder}.{rank}.out", "a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        for rank in (0, 1)
    ]


def ended(launchers: list[subprocess.Popen], limit: float) -> list[int]:
    """Their exit statuses."""
    try:
        return [launcher.wait(limit) for launcher in launchers]
    finally:
        for launcher in launchers:
            if launcher.poll() is None:
                os.killpg(launcher.pid, signal.SIGKILL)


def a_process_of(launcher: subprocess.Popen) -> int:
    """The first training process that a launcher has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (folder / "environ").read_bytes()
        except (OSError, ValueError):
            continue  # it has ended meanwhile
        if parent == launcher.pid and b"\0LOCAL_RANK=0\0" in b"\0" + environment:
            return int(folder.name)
    raise AssertionError("the launcher has no process")


def iterations(folder: Path) -> list[int]:
    file = folder / "metrics.json"
    return [json.loads(line)["iteration"] for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loopback", action="store_true", help="no namespaces")
    parser.add_argument("--processes", type=int, default=1, help="on each machine")
    options = parser.parse_args()
    with (loopback if options.loopback else two_namespaces)() as machines, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "run")
        started = time.monotonic()
        # Without an end in sight, so that it is still on when a process dies.
        launchers = launch(machines, folder, options.processes, "train.iterations=100000")
        while len(iterations(folder)) < 7:
            assert all(launcher.poll() is None for launcher in launchers), Path(f"{folder}.0.out").read_text()[-3000:]
            time.sleep(0.05)
        print(f"two launchers train together after {time.monotonic() - started:.0f} s", flush=True)
        killed = time.monotonic()
        os.kill(a_process_of(launchers[1]), signal.SIGKILL)
        statuses = ended(launchers, 120)
        print(f"a process of the second machine was killed: all had ended {time.monotonic() - killed:.1f} s later")
        assert all(statuses), statuses
        said = [Path(f"{folder}.{rank}.out").read_text() for rank in (0, 1)]
        messages = [
            line for text in said for line in text.splitlines() if "error:" in line or "was the first to end" in line
        ]
        print("\n".join(f"  {line}" for line in messages))
        assert any("was ended by SIGKILL" in line for line in messages) and any(
            "another process" in line for line in messages
        )
        reached = iterations(folder)[-1]
        launchers = launch(machines, folder, options.processes, "--resume", f"train.iterations={reached + ITERATIONS}")
        assert ended(launchers, 300) == [0, 0], Path(f"{folder}.0.out").read_text()[-3000:]
        assert iterations(folder) == list(range(1, reached + ITERATIONS + 1))
        log = (folder / "log.txt").read_text()
        assert f"{2 * options.processes} processes train together" in log and "resuming from" in log
        print(f"the run had been saved after iteration {reached}; resumed, it went on to {reached + ITERATIONS}")


if __name__ == "__main__":
    main()
