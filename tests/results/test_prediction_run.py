"""Predictions that are interrupted, continued, and split over processes."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.inference.shards import Shard
from segkit.results import CocoResultWriter, OverlayResultWriter
from segkit.results.prediction_run import INFO, PARTS, WHOLE, PredictionRun
from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError

CLASSES, IDS = ["one", "two"], [1, 4]
IMAGES = 7
WEIGHTS = {"weights": "model.pth (1)", "configuration": {"data.channels": "rgb", "predict.tile": "null"}}


def fake_predictor(images, batch_size=1):
    """As many objects as the grey value of the upper left pixel says."""
    found = []
    for image in images:
        n = int(image[0, 0, 0])
        boxes = torch.tensor([[0.0, i, 2, i + 1] for i in range(n)]).reshape(-1, 4)
        labels = torch.arange(n) % 2
        found.append(Detections(boxes, torch.linspace(0.9, 0.5, n), labels, torch.ones(n, 4, 4), image.shape[1:]))
    return found


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(IMAGES):
        Image.fromarray(np.full((20, 30, 3), i, np.uint8)).save(folder / f"{i}.png")
    return {path.name: path for path in sorted(folder.iterdir())}


def make_run(output: Path, inputs, *, shard=WHOLE, batch_size=1, identity=WEIGHTS, writer=CocoResultWriter):
    output.mkdir(exist_ok=True)

    def writers(parts):
        common = (output, CLASSES, IDS, parts)
        return [writer(*common), OverlayResultWriter(*common)]

    return PredictionRun(output, inputs, writers, identity, shard=shard, batch_size=batch_size)


def content(output: Path) -> dict[str, bytes]:
    """The bytes of each file, but for the lock and the information about the run, which has times."""
    files = [path for path in output.rglob("*") if path.is_file() and path.name not in (f"{PARTS}.lock", INFO)]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in files}


class Stop(Exception):
    """What the failing writer and model raise."""


def failing(after: int):
    """A writer class that raises at the image of that index, after its line is written."""

    class Failing(CocoResultWriter):
        def add(self, image):
            super().add(image)
            if image.name == f"{after}.png":
                raise Stop

    return Failing


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_resumed_after_a_failure_anywhere(inputs, tmp_path, batch_size):
    expected = make_run(tmp_path / "whole", inputs, batch_size=batch_size)
    summary = expected.run(fake_predictor)
    for after in range(IMAGES):
        output = tmp_path / f"stopped{after}"
        with pytest.raises(Stop):
            make_run(output, inputs, batch_size=batch_size, writer=failing(after)).run(fake_predictor)
        run = make_run(output, inputs, batch_size=batch_size)
        assert run.prepare(resume=True) is None
        calls: list[int] = []

        def counting(images, batch_size=1, calls=calls):
            calls.append(len(images))
            return fake_predictor(images)

        resumed = run.run(counting, resume=True)
        assert sum(calls) == IMAGES - after // batch_size * batch_size  # no finished image is predicted again
        assert content(output) == content(tmp_path / "whole")
        assert (resumed.images, resumed.detections, resumed.images_with) == (
            summary.images,
            summary.detections,
            summary.images_with,
        )
        assert not (output / PARTS).exists()


def test_failures_again_and_again(inputs, tmp_path):
    make_run(tmp_path / "whole", inputs).run(fake_predictor)
    for after in (1, 1, 3, 5, 6):
        with pytest.raises(Stop):
            make_run(tmp_path / "out", inputs, writer=failing(after)).run(fake_predictor, resume=True)
    make_run(tmp_path / "out", inputs).run(fake_predictor, resume=True)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_torn_line_of_the_state_is_ignored(inputs, tmp_path):
    """As a kill in the middle of a write leaves it."""
    make_run(tmp_path / "whole", inputs).run(fake_predictor)
    with pytest.raises(Stop):
        make_run(tmp_path / "out", inputs, writer=failing(4)).run(fake_predictor)
    state = tmp_path / "out" / PARTS / "1_of_1" / "state.jsonl"
    with open(state, "a", encoding="utf-8") as file:
        file.write('{"inputs": 5, "imag')
    make_run(tmp_path / "out", inputs).run(fake_predictor, resume=True)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_the_state_file_stays_small(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("segkit.results.prediction_state.MAX_LINES", 3)
    with pytest.raises(Stop):
        make_run(tmp_path / "out", inputs, writer=failing(6)).run(fake_predictor)
    state = tmp_path / "out" / PARTS / "1_of_1" / "state.jsonl"
    assert len(state.read_text().splitlines()) <= 3
    make_run(tmp_path / "whole", inputs).run(fake_predictor)
    make_run(tmp_path / "out", inputs).run(fake_predictor, resume=True)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_parts_that_a_power_cut_has_shortened(inputs, tmp_path):
    with pytest.raises(Stop):
        make_run(tmp_path / "out", inputs, writer=failing(4)).run(fake_predictor)
    (tmp_path / "out" / PARTS / "1_of_1" / "coco_images.part").write_bytes(b"")
    with pytest.raises(SegkitError, match=r"'coco_images' has 0 bytes instead of .* --restart"):
        make_run(tmp_path / "out", inputs).run(fake_predictor, resume=True)


@pytest.mark.parametrize("text", ["", "{}\n", "\0\0\0\n"])
def test_a_state_that_a_power_cut_has_emptied(inputs, tmp_path, text):
    with pytest.raises(Stop):
        make_run(tmp_path / "out", inputs, writer=failing(4)).run(fake_predictor)
    (tmp_path / "out" / PARTS / "1_of_1" / "state.jsonl").write_text(text)
    with pytest.raises(SegkitError, match=r"state\.jsonl' is empty or damaged.* --restart"):
        make_run(tmp_path / "out", inputs).prepare(resume=True)


def test_unfinished_predictions_are_not_overwritten(inputs, tmp_path):
    with pytest.raises(Stop):
        make_run(tmp_path / "out", inputs, writer=failing(4)).run(fake_predictor)
    with pytest.raises(SegkitError, match=r"unfinished prediction, 4 of 7 images done: --resume .* --restart"):
        make_run(tmp_path / "out", inputs).prepare()
    assert make_run(tmp_path / "out", inputs).prepare(restart=True) is None
    make_run(tmp_path / "out", inputs).run(fake_predictor)
    assert json.loads((tmp_path / "out" / INFO).read_text())["images"] == IMAGES


def test_another_prediction_is_not_continued(inputs, tmp_path):
    with pytest.raises(Stop):
        make_run(tmp_path / "out", inputs, writer=failing(4)).run(fake_predictor)
    other = WEIGHTS | {"configuration": {"data.channels": "rgb", "predict.tile": "512"}}
    with pytest.raises(SegkitError, match=r"other settings: predict\.tile null, now 512"):
        make_run(tmp_path / "out", inputs, identity=other).prepare(resume=True)


def test_a_finished_prediction_is_not_made_twice(inputs, tmp_path):
    done = make_run(tmp_path / "out", inputs).run(fake_predictor)
    again = make_run(tmp_path / "out", inputs).prepare(resume=True)
    assert again is not None and again.detections == done.detections and again.written == done.written
    assert make_run(tmp_path / "out", inputs).prepare() is None  # without --resume it is made again
    assert make_run(tmp_path / "out", inputs, identity={"weights": "other.pth"}).prepare(resume=True) is None


def test_a_mended_file(inputs, tmp_path):
    broken = inputs["3.png"]
    whole = broken.read_bytes()
    broken.write_bytes(b"no image")
    with pytest.raises(SegkitError, match=r"3\.png.*3 images before it are in .*; --resume continues after it"):
        make_run(tmp_path / "out", inputs).run(fake_predictor)
    broken.write_bytes(whole)
    make_run(tmp_path / "out", inputs).run(fake_predictor, resume=True)
    make_run(tmp_path / "whole", inputs).run(fake_predictor)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_skipped_files_are_counted_once(inputs, tmp_path):
    inputs["2.png"].write_bytes(b"no image")
    with pytest.raises(Stop):
        make_run(tmp_path / "out", inputs, writer=failing(4)).run(fake_predictor, skip_unreadable=True)
    summary = make_run(tmp_path / "out", inputs).run(fake_predictor, resume=True, skip_unreadable=True)
    assert summary.skipped == [inputs["2.png"]] and summary.images == IMAGES - 1 and summary.inputs == IMAGES


def test_nothing_is_left_if_nothing_was_finished(inputs, tmp_path):
    with pytest.raises(Stop):
        make_run(tmp_path / "out", inputs, writer=failing(0)).run(fake_predictor)
    assert make_run(tmp_path / "out", inputs).prepare() is None


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_shards_are_the_inputs_without_overlap_or_gap(count, batch_size):
    for n in range(12):
        inputs = {str(i): i for i in range(n)}
        parts = [Shard(i, count).part_of(inputs, batch_size) for i in range(1, count + 1)]
        assert [i for part in parts for i in part.values()] == list(range(n))
        assert all(next(iter(part.values())) % batch_size == 0 for part in parts if part)


@pytest.mark.parametrize("text", ["0/3", "4/3", "2", "a/b", "1/0", "-1/3"])
def test_shards_that_are_none(text):
    with pytest.raises(SegkitError, match=r"I/N"):
        Shard.parse(text)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_shards_make_one_result(inputs, tmp_path, count):
    make_run(tmp_path / "whole", inputs).run(fake_predictor)
    order = list(range(1, count + 1))
    random.Random(count).shuffle(order)
    for i in order:
        summary = make_run(tmp_path / "out", inputs, shard=Shard(i, count)).run(fake_predictor)
        assert (summary is None) == (i != order[-1])
    assert summary.images == IMAGES
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_shards_at_once(inputs, tmp_path):
    """All end at nearly the same time: exactly one finds that it is the last."""
    make_run(tmp_path / "whole", inputs).run(fake_predictor)
    runs = [make_run(tmp_path / "out", inputs, shard=Shard(i, 4)) for i in range(1, 5)]
    barrier, made = threading.Barrier(4), []

    def work(run):
        barrier.wait()
        made.append(run.run(fake_predictor))

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([summary for summary in made if summary is not None]) == 1 and len(made) == 4
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_shard_resumes(inputs, tmp_path):
    make_run(tmp_path / "whole", inputs).run(fake_predictor)
    with pytest.raises(Stop):
        make_run(tmp_path / "out", inputs, shard=Shard(2, 2), writer=failing(5)).run(fake_predictor)
    assert make_run(tmp_path / "out", inputs, shard=Shard(1, 2)).run(fake_predictor) is None
    assert make_run(tmp_path / "out", inputs, shard=Shard(1, 2)).run(fake_predictor, resume=True) is None  # done
    assert make_run(tmp_path / "out", inputs, shard=Shard(2, 2)).run(fake_predictor, resume=True) is not None
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_shards_of_another_split(inputs, tmp_path):
    make_run(tmp_path / "out", inputs, shard=Shard(1, 2)).run(fake_predictor)
    with pytest.raises(SegkitError, match="shard 1 of 2 of an unfinished prediction, not of 3"):
        make_run(tmp_path / "out", inputs, shard=Shard(2, 3)).prepare()
    with pytest.raises(SegkitError, match="other settings: weights"):
        make_run(tmp_path / "out", inputs, shard=Shard(2, 2), identity={"weights": "b"}).prepare()
