"""W&B's server: reached, resumed, refusing, or lost at the end; the package is a stand-in."""

from types import SimpleNamespace

import pytest

from segkit.engine.hooks import WandB
from segkit.engine.hooks.trackers import TrackedRun, base


class Package:
    """``wandb`` with a server that has ``steps`` steps of the run, or that refuses."""

    Settings = SimpleNamespace

    def __init__(self, folder, *, steps=0, refuses=False):
        self.folder, self.steps, self.refuses, self.calls, self.lines = folder, steps, refuses, [], []

    def init(self, **arguments):
        self.calls.append(f"init {arguments['mode']} {arguments['id']} {arguments['resume']}")
        if self.refuses and arguments["mode"] == "online":
            raise ConnectionError("403\nForbidden")
        config = SimpleNamespace(update=lambda values, allow_val_change: self.calls.append(f"config {values}"))
        return SimpleNamespace(
            step=self.steps, url="https://server/run", config=config, finish=self.finish, log=self.log,
            settings=SimpleNamespace(sync_dir=str(self.folder / "wandb/offline-run-1-abc")),
        )  # fmt: skip

    def log(self, values, step):
        self.lines.append((step, values))

    def finish(self, exit_code):
        raise TimeoutError("Timed out finishing run.")

    def teardown(self):
        self.calls.append("teardown")

    def setup(self):
        process = SimpleNamespace(kill=lambda: self.calls.append("kill"))
        connection = SimpleNamespace(_cleanup=lambda: None, _proc=SimpleNamespace(_process=process))
        return SimpleNamespace(_connection=connection)


@pytest.fixture
def connect(tmp_path, monkeypatch):
    """Returns the tracker and its connection to a stand-in."""
    monkeypatch.setattr(base, "is_installed", lambda package: True)
    monkeypatch.delenv("WANDB_MODE", raising=False)

    def make(package, *, logged_in=True):
        tracker = WandB(project="cells")
        tracker._wandb = package
        monkeypatch.setattr(tracker, "_logged_in", lambda: logged_in)
        return tracker, tracker.connect(TrackedRun(tmp_path, "mine", {"a": 1}, "abc"))

    return make


def test_a_resumed_run_begins_after_the_last_step_of_the_server(tmp_path, connect):
    package = Package(tmp_path, steps=41)
    tracker, connection = connect(package)
    assert package.calls == ["init online abc allow", "config {'a': 1}"]
    assert (connection.tracker_id, connection.last_iteration) == (
        "abc",
        40,
    ) and "https://server/run" in connection.place
    tracker.send_line(41, {"loss": 0.5})
    assert package.lines == [(41, {"loss": 0.5})]


@pytest.mark.parametrize("reason", ["refused", "no key"])
def test_without_a_server_the_run_is_written_to_files(tmp_path, connect, caplog, reason):
    package = Package(tmp_path, refuses=reason == "refused")
    _, connection = connect(package, logged_in=reason == "refused")
    assert package.calls[-3:] == ["teardown", "init offline abc allow", "config {'a': 1}"]
    assert ("(403)" if reason == "refused" else "wandb login") in caplog.text
    assert f"wandb sync {tmp_path}/wandb/offline-run-1-abc" in connection.place and connection.last_iteration == 0


def test_a_server_that_is_lost_at_the_end_does_not_hold_up_the_exit(tmp_path, connect):
    package = Package(tmp_path)
    tracker, _ = connect(package)
    with pytest.raises(TimeoutError, match="wandb sync"):
        tracker.finish()
    assert package.calls[-1] == "kill"
