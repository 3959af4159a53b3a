"""A tracker whose server is an object."""

from dataclasses import dataclass, field

import processes

from segkit.engine.hooks import Tracker, Writers
from segkit.engine.hooks.trackers import Connection


@dataclass
class Store:
    """What a tracker has on its server, by id; ``capacity``: how many lines it keeps."""

    runs: dict = field(default_factory=dict)
    configs: dict = field(default_factory=dict)
    capacity: int | None = None


class Recorder(Tracker):
    """Writes to a ``Store``; ``fault`` is called in the method of its name."""

    title, package, extra, target = "Recorder", "json", "recorder", "cells"

    def __init__(self, store, *, fault=(), timeout=10.0):
        super().__init__(upload_checkpoints=True, timeout=timeout)
        self.store, self.fault, self.others = store, dict(fault), []

    def check(self, name):
        self.fault.get(name, lambda: None)()

    def load(self):
        self.check("load")

    def connect(self, run):
        self.check("connect")
        self.id = run.tracker_id or f"run{len(self.store.runs)}"
        self.store.runs.setdefault(self.id, [])
        self.store.configs[self.id] = run.config
        return Connection(self.id, max((line[0] for line in self.store.runs[self.id]), default=0), "here")

    def send_line(self, iteration, metrics):
        self.check("send_line")
        stored = self.store.runs[self.id]
        if self.store.capacity is None or len(stored) < self.store.capacity:
            stored.append((iteration, metrics))

    def send_checkpoint(self, saved, *, upload):
        self.check("send_checkpoint")
        self.others.append((saved.path.name, saved.iteration, saved.metrics.get("segm/AP"), upload))

    def send_picture(self, iteration, name, path):
        self.check("send_picture")
        self.others.append((name, iteration, path.read_text()))

    def finish(self):
        self.check("finish")
        self.others.append(self.finished)


def lines_in_process(folder):
    """What the tracker of this process got from three steps of several processes."""
    store = Store()
    hook = Writers(3, writers=[Recorder(store)])
    processes.a_trainer(folder, model=processes.Plain(), val=False, iterations=3, extra=[hook]).train()
    return store.runs
