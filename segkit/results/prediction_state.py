"""How far a prediction is, kept on the disk, so that it continues after any interruption."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from segkit.inference.writing import PredictionSummary
from segkit.results.part_files import PartFiles
from segkit.utils.errors import SegkitError, first_few

STATE_NAME = "state.jsonl"
SKIPPED = "skipped"  # the part that holds the files that could not be read
MAX_LINES = 1_000  # of the file; then its last line replaces them


class PredictionState:
    """The state of a prediction in a folder.

    It holds what the prediction is, which inputs are finished, and the lines of its writers.
    The file ``state.jsonl`` begins with a line about the prediction (``identity``). After each batch a line follows with
    the counts so far and the lengths of the parts. A process that is killed between two of them leaves lines of writers
    that :meth:`resume` cuts off, and files of images, which are whole and written again.

    Args:
        folder: of the state and the parts; created by :meth:`start`.
        identity: what must not change between two starts, in words that a message can show. Values are texts, or
            mappings of texts, such as the keys of the configuration.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.identity = dict(identity)
        self.parts = PartFiles(self.folder)
        self._stream: BinaryIO | None = None
        self._lines = 0  # of the state file
        self._skipped = 0  # files in the part of skipped ones

    @property
    def exists(self) -> bool:
        """Whether a prediction has begun in the folder."""
        return (self.folder / STATE_NAME).is_file()

    @property
    def is_damaged(self) -> bool:
        """Whether the file of the state is there and holds no line, as after a power cut."""
        return self.exists and not self._read_lines()

    @property
    def is_complete(self) -> bool:
        """Whether all inputs of the prediction in the folder are finished."""
        return bool(self._last_line().get("complete"))

    def summary(self) -> PredictionSummary:
        """The counts of the prediction in the folder, without the files that it wrote."""
        last = self._last_line()
        counts = {key: {int(k): n for k, n in last.get(key, {}).items()} for key in ("detections", "images_with")}
        summary = PredictionSummary(
            inputs=last.get("inputs", 0), images=last.get("images", 0), seconds=last.get("seconds", 0.0)
        )
        summary.detections.update(counts["detections"])
        summary.images_with.update(counts["images_with"])
        summary.skipped = [Path(json.loads(line)) for line in self.parts.lines(SKIPPED)] if self.exists else []
        return summary

    def start(self) -> None:
        """Begins a prediction; one that is there is removed."""
        self.remove()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._open([json.dumps({"identity": self.identity})])

    def resume(self) -> PredictionSummary:
        """Continues the prediction in the folder, after the last batch that was finished.

        Raises:
            SegkitError: it is another prediction, or its files are shorter than they were, as after a power cut.
        """
        self.check_identity()
        lines = self._read_lines()
        positions = self._last_line().get("positions", {})
        for name, length in positions.items():
            size = self.parts.size(name)
            if size < length:
                raise SegkitError(
                    f"'{self.folder}' cannot be continued: its part '{name}' has {size} bytes instead of {length}, as after "
                    "a power cut; start again with --restart",
                    value=str(self.folder),
                )
        self.parts.rewind(positions)
        self._open([lines[0], *lines[-1:]] if len(lines) > 1 else lines)
        return self.summary()

    def check_identity(self) -> None:
        """Raises SegkitError if the prediction in the folder is another one.

        The message names the differences.
        """
        try:
            before = json.loads(self._read_lines()[0])["identity"]
        except (IndexError, ValueError, KeyError):
            raise SegkitError(
                f"'{self.folder / STATE_NAME}' is empty or damaged, as after a power cut, so the prediction cannot be "
                "continued; start again with --restart",
                key="--resume",
                value=str(self.folder),
            ) from None
        changes = list(_changes(before, self.identity))
        if changes:
            raise SegkitError(
                f"'{self.folder.parents[1]}' holds an unfinished prediction with other settings: {first_few(changes)}. Repeat "
                "its command with --resume, choose another --output, or start again with --restart",
                key="--resume",
            )

    def finish_batch(self, summary: PredictionSummary) -> None:
        """Records that all writers have finished the inputs that the counts stand for."""
        for path in summary.skipped[self._skipped :]:
            self.parts.append(SKIPPED, json.dumps(str(path)))
        self._skipped = len(summary.skipped)
        self._append(self._line(summary))

    def complete(self, summary: PredictionSummary) -> None:
        """Records that all inputs are finished."""
        self._append(self._line(summary) | {"complete": True})
        self.close()

    def close(self) -> None:
        """Closes the files; the state stays on the disk."""
        self.parts.close()
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def remove(self) -> None:
        """Removes the state and the parts."""
        self.close()
        (self.folder / STATE_NAME).unlink(missing_ok=True)
        self.parts.remove()

    def _line(self, summary: PredictionSummary) -> dict[str, Any]:
        return {
            "inputs": summary.inputs,
            "images": summary.images,
            "detections": summary.detections,
            "images_with": summary.images_with,
            "seconds": round(summary.seconds, 3),
            "positions": self.parts.positions(),
        }

    def _open(self, lines: list[str]) -> None:
        """Replaces the state file by these lines, whole or not at all, and keeps it open."""
        temporary = self.folder / f".{STATE_NAME}.tmp"
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        os.replace(temporary, self.folder / STATE_NAME)
        if self._stream is not None:
            self._stream.close()
        self._stream = open(self.folder / STATE_NAME, "ab")  # noqa: SIM115  # closed by close()
        self._lines = len(lines)
        self._skipped = sum(1 for _ in self.parts.lines(SKIPPED))

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self._stream is not None, "neither started nor resumed"
        text = json.dumps(line)
        if self._lines >= MAX_LINES:
            self._open([self._read_lines()[0], text])
            return
        self._stream.write(text.encode() + b"\n")
        self._stream.flush()
        self._lines += 1

    def _read_lines(self) -> list[str]:
        """The whole lines of the state file; one that a killed process began is dropped."""
        if not self.exists:
            return []
        text = (self.folder / STATE_NAME).read_text(encoding="utf-8")
        return text[: text.rfind("\n") + 1].splitlines()

    def _last_line(self) -> dict[str, Any]:
        lines = self._read_lines()
        return json.loads(lines[-1]) if len(lines) > 1 else {}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each difference in words, as ``score threshold 0.5, now 0.7``."""
    found = []
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _changes(old, new)
        elif old != new:
            found.append(f"{key} {old}, now {new}")
    return found
