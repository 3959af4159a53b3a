"""What differs from the default configuration or between runs; versions and devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segkit.config.describe import inline
from segkit.engine.config_diff import ConfigChange, config_diff
from segkit.report.analysis import RunAnalysis
from segkit.report.cells import words
from segkit.report.config_differences import differences_from_defaults
from segkit.report.sections.base import Section, fill

LONGEST = 300  # characters of a value
IGNORED = ("output_dir",)


def section(runs: Sequence[RunAnalysis]) -> Section:
    """Tables of the configuration's differences and of versions and devices."""
    configured = [run for run in runs if run.run.config is not None]
    body = fill(
        "environment.html",
        several=len(runs) > 1,
        between=_between(configured) if len(configured) > 1 else None,
        defaults=[(run, _from_defaults(run)) for run in configured],
        yaml=[(run, run.run.config.to_yaml()) for run in configured if run.run.config is not None],
        unconfigured=[run for run in runs if run.run.config is None],
        environments=_environments(runs),
        without=[run for run in runs if not run.log.environment and run.run.config is not None],
    )
    return Section("setup", "Setup", "Configuration and environment", body)


def _between(runs: Sequence[RunAnalysis]) -> dict[str, Any]:
    """The keys in which any run differs from the first, and the value of each."""
    plain = [run.run.config.to_dict() for run in runs if run.run.config is not None]
    values: dict[str, list[Any]] = {}
    for i, other in enumerate(plain[1:], start=1):
        for change in config_diff(plain[0], other):
            if change.key not in IGNORED:
                values.setdefault(change.key, [change.before] * len(runs))[i] = change.now
    heads = [words("key"), *(words(run.label) for run in runs)]
    rows = [[words(key), *(words(shown(value)) for value in row)] for key, row in values.items()]
    return {"heads": heads, "rows": rows}


def _from_defaults(run: RunAnalysis) -> dict[str, Any]:
    assert run.run.config is not None
    changes: list[ConfigChange] = differences_from_defaults(run.run.config)
    heads = [words("key"), words("value"), words("default")]
    rows = [
        [words(one.key), words(shown(one.now)), words("" if one.before is None else shown(one.before))]
        for one in changes
    ]
    return {"heads": heads, "rows": rows}


def shown(value: Any) -> str:
    """A plain value as one line of YAML, cut if it is long."""
    text = inline(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]} …"


def _environments(runs: Sequence[RunAnalysis]) -> dict[str, Any] | None:
    known = [run for run in runs if run.log.environment]
    if not known:
        return None
    names = list(dict.fromkeys(name for run in known for name, _ in run.log.environment))
    heads = [words("part"), *(words(run.label if len(runs) > 1 else "version or device") for run in known)]
    tables = [dict(run.log.environment) for run in known]
    rows = [[words(name), *(words(table.get(name, "–")) for table in tables)] for name in names]
    return {"heads": heads, "rows": rows}
