"""Weights & Biases: runs on its server, or in files that ``wandb sync`` sends later."""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from segkit.engine.checkpoint import SavedCheckpoint
from segkit.engine.hooks.trackers.base import Connection, TrackedRun, Tracker
from segkit.registry import WRITER_REGISTRY

logger = logging.getLogger(__name__)
CONNECT_SECONDS = 30.0
READ_SECONDS = 60.0  # for reading the files of an earlier process


@WRITER_REGISTRY.register
class WandB(Tracker):
    """Writes to Weights & Biases, online or to files in the run's folder.

    If the server cannot be reached when the run starts, the files are written too, and the log names the command that
    sends them.

    Args:
        project: the run's project.
        entity: user or team; None: the default of the account.
        run_name: None: the name of the run's folder.
        group: of related runs.
        tags: of the run.
        mode: None: ``WANDB_MODE`` of the environment, or online.
    """

    title, package, extra = "W&B", "wandb", "wandb"

    def __init__(
        self,
        *,
        project: str = "segkit",
        entity: str | None = None,
        run_name: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        mode: Literal["online", "offline"] | None = None,
        upload_checkpoints: bool = False,
        timeout: float = 60.0,
    ) -> None:
        super().__init__(upload_checkpoints=upload_checkpoints, timeout=timeout)
        self.project = project
        self.entity = entity
        self.run_name = run_name
        self.group = group
        self.tags = tuple(tags)
        self.mode = mode
        self._run: Any = None

    @property
    def target(self) -> str:
        return self.project if self.entity is None else f"{self.entity}/{self.project}"

    def load(self) -> None:
        import wandb

        self._wandb = wandb

    def connect(self, run: TrackedRun) -> Connection:
        name = run.tracker_id or secrets.token_hex(4)
        mode = self.mode or os.environ.get("WANDB_MODE") or "online"
        try:
            if mode == "online" and not self._logged_in():
                raise ConnectionError("no API key: wandb login, or mode: offline")
            self._init(run, name, mode)
        except Exception as error:
            if mode != "online":
                raise
            mode = "offline"
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            logger.warning("%s: cannot be reached (%s); this run is written to files", self.title, reason)
            self._wandb.teardown()  # else the id counts as in use
            self._init(run, name, mode)
        if mode == "offline":
            files = Path(self._run.settings.sync_dir)
            return Connection(name, last_local_iteration(files, name), f"run {name}; to send it: wandb sync {files}")
        # A resumed run begins with the step after the last that the server has.
        return Connection(name, max(int(self._run.step) - 1, 0), f"run {name}, {self._run.url}")

    def _logged_in(self) -> bool:
        """Whether there is an API key; ``wandb.init`` would ask for one on a terminal."""
        try:
            from wandb.sdk.lib import wbauth

            host = self._wandb.setup().settings.base_url
            return wbauth.authenticate_session(host=host, source="segkit", prompt=False) is not None
        except (ImportError, AttributeError, TypeError):  # another version of wandb
            return True

    def _init(self, run: TrackedRun, name: str, mode: str) -> None:
        settings = self._wandb.Settings(
            silent=True,
            console="off",  # stdout stays as it is; the log is in the run's folder
            init_timeout=CONNECT_SECONDS,
            finish_timeout=max(0.8 * self.timeout, 0.1),  # 0 is without end
            finish_timeout_raises=True,
        )
        self._run = self._wandb.init(
            project=self.project,
            entity=self.entity,
            id=name,
            name=self.run_name or run.name,
            group=self.group,
            tags=self.tags or None,
            dir=str(run.folder),
            mode=mode,
            resume="allow",
            reinit="create_new",
            settings=settings,
        )
        self._run.config.update(dict(run.config), allow_val_change=True)

    def send_line(self, iteration: int, metrics: Mapping[str, float]) -> None:
        # Without commit: pictures of this iteration may follow. A line that a crash takes is sent by the resumed run.
        self._run.log(dict(metrics), step=iteration)

    def send_checkpoint(self, saved: SavedCheckpoint, *, upload: bool) -> None:
        about = {"path": str(saved.path.absolute()), "iteration": saved.iteration, **saved.metrics}
        artifact = self._wandb.Artifact(f"run-{self._run.id}-model", type="model", metadata=about)
        if upload:
            artifact.add_file(str(saved.path))
        else:
            artifact.add_reference(saved.path.absolute().as_uri(), checksum=False)
        kind = saved.path.stem.removeprefix("model_")
        self._run.log_artifact(artifact, aliases=["latest", kind] if kind in ("best", "final") else ["latest"])

    def send_picture(self, iteration: int, name: str, path: Path) -> None:
        self._run.log({name: self._wandb.Image(str(path), caption=path.name)}, step=iteration)

    def finish(self) -> None:
        try:
            self._run.finish(exit_code=0 if self.finished else 1)
        except TimeoutError as error:
            with suppress(AttributeError):
                self.abandon()
            raise TimeoutError(f"{error} To send the rest: wandb sync {self._run.settings.sync_dir}") from error

    def abandon(self) -> None:
        # At the interpreter's exit wandb waits without limit for its process. What that has written can be synced later.
        connection = self._wandb.setup()._connection
        connection._cleanup()
        connection._proc._process.kill()


def last_local_iteration(files: Path, name: str) -> int | None:
    """Returns the last iteration in the files of a run's earlier processes on this machine.

    Args:
        files: the folder of the present process.
        name: the run's id.
    Returns:
        0 without such files; None if they cannot be read.
    """
    last = 0
    for folder in sorted(files.parent.glob(f"*run-*-{name}")):
        if folder == files:
            continue
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=READ_SECONDS, check=False, cwd=files)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode != 0:
            return None
        for line in done.stdout.splitlines():
            record = json.loads(line)
            if record["type"] == "history":
                last = max(last, int(record["history"]["step"]["num"]))
    return last
