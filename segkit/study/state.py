"""What is on the disk of a run.

Its configuration, how far it has come, its result, its last error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.config.loader import present_config_dict
from segkit.config.yaml_reader import read_yaml
from segkit.engine.checkpoint import METRICS
from segkit.engine.config_diff import NO_EFFECT, ConfigChange, config_diff
from segkit.engine.hooks.evaluation import find_value
from segkit.study.plan import PlannedRun
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError
from segkit.visualization.curves import read_metrics

RUN_CONFIG = "study_run.yaml"  # the configuration that the run's process is started with
FINISHED = "finished.json"  # written last: a run with this file is never started again
ANYWHERE = ("output_dir", "imports_from")  # keys that differ if a study's folder is moved


@dataclass(frozen=True)
class Result:
    """A finished run's evaluation.

    Attributes:
        iteration: after which it was made.
        metrics: by name; None: there was nothing to measure, as small objects.
    """

    iteration: int
    metrics: Mapping[str, float | None]

    def value(self, metric: str) -> float | None:
        """A metric's value; None if there was nothing to measure.

        Raises:
            SegkitError: there is no such metric; the message has the nearest name.
        """
        return find_value(self.metrics, metric, "metric")


def value_text(value: float | None) -> str:
    """A metric's value in a line of the log; ``nothing`` if there was nothing to measure."""
    return "nothing" if value is None else f"{value:.4f}"


def write_run_config(run: PlannedRun) -> Path:
    """Writes the configuration that the run's process reads."""
    run.folder.mkdir(parents=True, exist_ok=True)
    path = run.folder / RUN_CONFIG
    with atomic_write(path) as temporary:
        temporary.write_text(run.config.to_yaml(), encoding="utf-8")
    return path


def changes(run: PlannedRun) -> list[ConfigChange]:
    """The keys in which a started run's configuration differs from the present one.

    Keys without an effect on the result are skipped, as ``data.num_workers``. Empty if the run was not started.
    """
    path = run.folder / RUN_CONFIG
    if not path.is_file():
        return []
    before = present_config_dict(read_yaml(path.read_text(encoding="utf-8"), str(path)).plain())
    found = config_diff(before, run.config.to_dict())
    return [one for one in found if one.meaning != NO_EFFECT and one.key.partition(".")[0] not in ANYWHERE]


def started(run: PlannedRun) -> bool:
    """Whether the run has been started."""
    return (run.folder / RUN_CONFIG).is_file()


def result(run: PlannedRun) -> Result | None:
    """The result of a finished run; None if it is not finished.

    Raises:
        SegkitError: the file is damaged.
    """
    path = run.folder / FINISHED
    if not path.is_file():
        return None
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        metrics = {str(name): None if value is None else float(value) for name, value in read["metrics"].items()}
        return Result(int(read["iteration"]), metrics)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SegkitError(f"{path} is damaged ({error}); remove it: the run is then finished again") from error


def last_evaluation(folder: Path) -> Result | None:
    """The last evaluation in ``metrics.json``; None if there is none."""
    path = folder / METRICS
    if not path.is_file():
        return None
    for record in reversed(read_metrics(path)):
        metrics = {name: value for name, value in record.items() if is_metric(name)}
        if metrics:
            return Result(int(record["iteration"]), metrics)
    return None


def is_metric(name: str) -> bool:
    """Whether a key of ``metrics.json`` is a metric of an evaluation.

    Examples are ``segm/AP`` and ``val/loss/total``.
    """
    return "/" in name and not name.startswith(("loss/", "data/"))


def write_result(run: PlannedRun, metrics: Sequence[str]) -> Result:
    """Marks a run as finished, with its last evaluation.

    Args:
        metrics: those that the tables need.
    Raises:
        SegkitError: it has no evaluation, or one without these metrics.
    """
    found = last_evaluation(run.folder)
    if found is None:
        raise SegkitError(f"{run.folder} has no evaluation in {METRICS}")
    for metric in metrics:
        found.value(metric)
    with atomic_write(run.folder / FINISHED) as temporary:
        text = json.dumps({"iteration": found.iteration, "metrics": dict(found.metrics)}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
    return found


def last_iteration(folder: Path) -> int:
    """The iteration of the last line of ``metrics.json``; 0 without."""
    path = folder / METRICS
    if not path.is_file():
        return 0
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 65536))
        lines = file.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        try:
            return int(json.loads(line)["iteration"])
        except (ValueError, KeyError, TypeError):
            continue  # cut off, or being written
    return 0


def last_error(console: Path, limit: int = 400) -> str:
    """The last line with an error in a run's output, else its last line."""
    if not console.is_file():
        return "it wrote nothing"
    text = console.read_bytes()[-65536:].decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [
        line for line in lines if "error:" in line.lower() or line.partition(":")[0].endswith(("Error", "Exception"))
    ]
    return ([*lines[-1:], *errors[-1:]] or ["it wrote nothing"])[-1][:limit]
