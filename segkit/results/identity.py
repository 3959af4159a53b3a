"""What makes two starts of a prediction the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.config.describe import inline, leaves
from segkit.inference.predictor import Predictor
from segkit.utils.errors import counted
from segkit.utils.paths import local_path

DIGITS = 12  # of a digest


def prediction_identity(
    predictor: Predictor,
    inputs: Mapping[str, Any],
    *,
    weights: str,
    id_map: str | None = None,
    writers: Sequence[Mapping[str, Any]] = (),
    batch_size: int = 1,
) -> dict[str, Any]:
    """The settings of a prediction that change what it writes.

    They are the identity of a :class:`segkit.results.prediction_state.PredictionState`.
    Device and readers are not among them, nor what is in the input files: a file that could not be read may be mended.

    Args:
        predictor: with its configuration and thresholds.
        inputs: the file of each name.
        weights: path or URL of the checkpoint.
        id_map: path of the id map.
        writers: their specs.
        batch_size: number of images that go through the network together.
    """
    names = "\n".join(f"{name}\t{path}" for name, path in inputs.items())
    identity: dict[str, Any] = {
        "inputs": f"{counted(len(inputs), 'image')} ({_digest(names.encode())})",
        "weights": f"{Path(weights).name} ({_file_digest(local_path(weights, 'checkpoint', kind='file'))})",
        "score threshold": ", ".join(f"{name} {value:.6g}" for name, value in predictor.thresholds.items()),
        "results": "; ".join(inline(dict(spec)) for spec in writers),
        "batch size": str(batch_size),
        "configuration": {key: inline(value) for key, value in leaves(predictor.cfg)},
    }
    if id_map is not None:
        identity["id map"] = f"{Path(id_map).name} ({_file_digest(Path(id_map))})"
    return identity


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content).hexdigest()[:DIGITS]


def _file_digest(path: Path) -> str:
    digest = hashlib.blake2b()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:DIGITS]
