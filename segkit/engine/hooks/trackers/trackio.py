"""Trackio: runs in a file of this machine, in a Hugging Face Space, or on a server."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segkit.engine.checkpoint import SavedCheckpoint
from segkit.engine.hooks.trackers.base import Connection, TrackedRun, Tracker
from segkit.registry import WRITER_REGISTRY
from segkit.utils.errors import SegkitError


@WRITER_REGISTRY.register
class Trackio(Tracker):
    """Writes to Trackio: to this machine (``TRACKIO_DIR``), a Space, or a Trackio server.

    Args:
        project: the run's project.
        run_name: None: the name of the run's folder and four random characters.
        group: of related runs.
        space_id: a Hugging Face Space, as ``user/space``; needs a login (``hf auth login``).
        server_url: a Trackio server, whose write token is in the environment as ``TRACKIO_WRITE_TOKEN``.
    Raises:
        SegkitError: the package is missing, or both ``space_id`` and ``server_url`` are set.
    """

    title, package, extra = "Trackio", "trackio", "trackio"

    def __init__(
        self,
        *,
        project: str = "segkit",
        run_name: str | None = None,
        group: str | None = None,
        space_id: str | None = None,
        server_url: str | None = None,
        upload_checkpoints: bool = False,
        timeout: float = 60.0,
    ) -> None:
        super().__init__(upload_checkpoints=upload_checkpoints, timeout=timeout)
        if space_id is not None and server_url is not None:
            raise SegkitError("space_id and server_url are two destinations; set one of them", key="server_url")
        self.project = project
        self.run_name = run_name
        self.group = group
        self.space_id = space_id
        self.server_url = server_url
        self._run: Any = None

    @property
    def target(self) -> str:
        return self.project

    def load(self) -> None:
        import trackio

        self._trackio = trackio

    def connect(self, run: TrackedRun) -> Connection:
        # Trackio finds a run by its name, which therefore has to be unique.
        name = run.tracker_id or self.run_name or f"{run.name}-{secrets.token_hex(2)}"
        self._run = self._trackio.init(
            self.project,
            name=name,
            group=self.group,
            space_id=self.space_id,
            server_url=self.server_url,
            config=dict(run.config),
            resume="never" if run.tracker_id is None else "allow",
            embed=False,
        )
        place = self.space_id or self.server_url or f"trackio show --project {self.project!r} shows it"
        # The next step is one after the last that Trackio has; there is no public name for it.
        next_step = getattr(self._run, "_next_step", None)
        return Connection(name, None if next_step is None else max(next_step - 1, 0), f"run {name} ({place})")

    def send_line(self, iteration: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=iteration)

    def send_checkpoint(self, saved: SavedCheckpoint, *, upload: bool) -> None:
        about = {"path": str(saved.path.absolute()), "iteration": saved.iteration, **saved.metrics}
        artifact = self._trackio.Artifact(f"{self._run.name}-{saved.path.stem}", type="model", metadata=about)
        if upload:
            artifact.add_file(str(saved.path))
        else:
            artifact.add_reference(saved.path.absolute().as_uri(), checksum=False)
        self._run.log_artifact(artifact)

    def send_picture(self, iteration: int, name: str, path: Path) -> None:
        self._run.log({name: self._trackio.Image(str(path), caption=path.name)}, step=iteration)

    def finish(self) -> None:
        self._run.finish()
