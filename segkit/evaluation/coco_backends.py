"""The choice between hotcoco and pycocotools for COCO matching.

Both compute the same precision and recall arrays: on random data with crowds, ties and limits from 1 to 300 detections they
are equal bit for bit. hotcoco (Rust, one abi3 wheel a platform, needs only numpy) evaluates 1,000 images with 45,000
objects in 0.35 s, pycocotools in 15.5 s; ``tools/benchmark.py evaluate`` measures both. hotcoco is a young package, so
metrics do not depend on it: pycocotools, the reference, takes its place if it is absent or broken.
"""

from __future__ import annotations

import logging
from typing import Literal

from segkit.evaluation.coco_matching import CocoBackend
from segkit.evaluation.hotcoco_backend import HotcocoBackend
from segkit.evaluation.pycocotools_backend import PycocotoolsBackend
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)

BackendName = Literal["auto", "hotcoco", "pycocotools"]


def choose_backend(name: BackendName) -> CocoBackend:
    """Returns a back end whose library can be imported.

    Args:
        name: ``auto``: hotcoco; pycocotools, with a line in the log, where hotcoco cannot be imported.
    Raises:
        SegkitError: the library cannot be imported.
    """
    backends: dict[str, CocoBackend] = {b.name: b for b in (HotcocoBackend(), PycocotoolsBackend())}
    if name != "auto":
        if name not in backends:
            raise SegkitError(
                f"backend: expected auto, {' or '.join(backends)}, got {name!r}", key="backend", value=name
            )
        if (problem := import_problem(backends[name])) is not None:
            raise SegkitError(
                f"backend: {problem}; pip install --upgrade {name}, or set backend: auto", key="backend", value=name
            )
        return backends[name]
    problems: list[str] = []
    for backend in backends.values():
        if (problem := import_problem(backend)) is None:
            if problems:
                logger.info(
                    "%s: %s computes the metrics instead, slower and with the same values", problems[0], backend.name
                )
            return backend
        problems.append(problem)
    raise SegkitError(f"COCO metrics need hotcoco or pycocotools, but {'; '.join(problems)}", key="backend")


def import_problem(backend: CocoBackend) -> str | None:
    """Why a back end's library cannot be used; None if it can."""
    try:
        backend.check()
    except ModuleNotFoundError:
        return f"{backend.name} is not installed"
    except Exception as error:  # a compiled library that does not fit the system fails in many ways
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return f"{backend.name} cannot be imported ({type(error).__name__}: {reason})"
    return None
