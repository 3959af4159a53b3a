"""Opens the runs of ``segkit report``: folders, or results files with their data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segkit.dataset_tools.source import open_data
from segkit.engine.finished_run import FinishedRun, finished_run, open_finished_run
from segkit.engine.run_dir import REPORT
from segkit.utils.errors import SegkitError
from segkit.utils.paths import local_path


def open_runs(
    paths: Sequence[str], *, data: str | None = None, format: str | None = None, split: str | None = None
) -> list[FinishedRun]:
    """Opens runs that have been evaluated.

    Args:
        paths: folders of runs; with ``data``, files of COCO results too.
        data: the ground truth of results files: a folder or file of any format.
        format: name of its format; None: recognised by content.
        split: name of its split; None: ``val``, or the only one.
    Raises:
        SegkitError: a folder that is no run or was not evaluated, a results file without ``data``, data that fit none.
    """
    found = []
    opened = None
    for path in paths:
        place = local_path(path, "run")
        if place.is_dir():
            found.append(open_finished_run(place))
            continue
        if data is None:
            raise SegkitError(
                f"{place} is a file; expected the folder of a run. For a file of COCO results, name its ground truth with "
                "--data",
                value=path,
            )
        opened = opened or open_data(data, format)
        dataset, agnostic = opened.split(split, data), opened.class_agnostic
        found.append(finished_run(place.stem, place, dataset, opened.evaluators or (), class_agnostic=agnostic))
    if data is not None and opened is None:
        raise SegkitError(
            "--data is the ground truth of results files; the runs given are folders, which know their data", key="data"
        )
    return found


def default_output(runs: Sequence[FinishedRun]) -> Path:
    """``report.html`` in the folder of the only run, else in the current folder."""
    return runs[0].path / REPORT if len(runs) == 1 and runs[0].path.is_dir() else Path(REPORT)
