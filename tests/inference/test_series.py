"""Time series: frames of stacks and numbered files, links, tracks in results."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segkit.inference.frame import Frame
from segkit.inference.series import Linker, find_series, predict_series
from segkit.inference.shards import Shard
from segkit.results import CocoResultWriter, TrackResultWriter
from segkit.results.prediction_run import PredictionRun
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageFile, ImageReader, Planes

scipy_optimize = pytest.importorskip("scipy.optimize")
SIZE = (60, 80)


def disc(centre, radius=5):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return (y - centre[1]) ** 2 + (x - centre[0]) ** 2 <= radius**2


def detections_of(masks, labels=None):
    dense = np.array(masks, bool).reshape(-1, *SIZE)
    n = len(dense)
    labels = torch.zeros(n).long() if labels is None else torch.tensor(labels)
    return Detections.from_masks(InstanceMasks.from_dense(torch.from_numpy(dense)), torch.linspace(0.9, 0.5, n), labels)


def tracks_of(frames, labels=None, **settings):
    linker = Linker(**settings)
    labels = labels or [None] * len(frames)
    return [linker.add(detections_of(masks, own)).tolist() for masks, own in zip(frames, labels, strict=True)]


def test_moving_discs_keep_their_tracks():
    """Three discs move, in another order in each frame; two of them nearly touch."""
    random = np.random.default_rng(0)
    linker, seen = Linker(), {}
    for t in range(12):
        centres = [(10 + 2 * t, 10), (70 - 2 * t, 30), (10 + 2 * t, 22)]
        order = random.permutation(3)
        found = linker.add(detections_of([disc(centres[i]) for i in order])).tolist()
        for i, track in zip(order.tolist(), found, strict=True):
            assert seen.setdefault(i, track) == track
    assert sorted(seen.values()) == [1, 2, 3]


def test_births_deaths_and_empty_frames():
    a, b = disc((10, 10)), disc((40, 30))
    assert tracks_of([[a], [a, b], [b], [], [], [b]], max_gap=1) == [[1], [1, 2], [2], [], [], [3]]
    assert tracks_of([[a], [a, b], [b], [], [], [b]], max_gap=2)[-1] == [2]
    assert tracks_of([[], [], [a]]) == [[], [], [1]]
    assert tracks_of([[a]]) == [[1]]


def test_a_missing_frame_counts_as_a_gap():
    linker = Linker(max_gap=1)
    assert linker.add(detections_of([disc((10, 10))]), 0).tolist() == [1]
    assert linker.add(detections_of([disc((10, 10))]), 2).tolist() == [1]
    assert linker.add(detections_of([disc((10, 10))]), 5).tolist() == [2]


def test_a_division():
    """The daughter that overlaps more goes on, the other one is new."""
    mother = disc((30, 30), 9)
    assert tracks_of([[mother], [disc((24, 30), 5), disc((35, 30), 6)]]) == [[1], [2, 1]]


def test_classes():
    a = disc((10, 10))
    assert tracks_of([[a], [a]], [[0], [1]]) == [[1], [2]]
    assert tracks_of([[a], [a]], [[0], [1]], same_class=False) == [[1], [1]]


@pytest.mark.parametrize("seed", range(5))
def test_blocks_equal_an_assignment_of_all(seed):
    """A dense matrix of all IoUs, and one linear assignment."""
    random = np.random.default_rng(seed)
    frames = [
        [disc((random.uniform(5, 75), random.uniform(5, 55)), random.integers(3, 9)) for _ in range(14)]
        for _ in range(2)
    ]
    first, second = tracks_of(frames, min_iou=0.1)
    ious = np.array([[(a & b).sum() / (a | b).sum() for b in frames[1]] for a in frames[0]])
    ious[ious < 0.1] = 0
    rows, columns = scipy_optimize.linear_sum_assignment(ious, maximize=True)
    total = sum(ious[first.index(track), k] for k, track in enumerate(second) if track in first)
    assert total == pytest.approx(ious[rows, columns].sum())
    assert all(ious[first.index(track), k] > 0 for k, track in enumerate(second) if track in first)


def test_thousands_of_objects():
    grid = np.stack(np.meshgrid(np.arange(50), np.arange(50)), -1).reshape(-1, 2) * 6
    boxes = torch.from_numpy(np.concatenate([grid, grid + 5], 1))
    masks = InstanceMasks(torch.ones(2500 * 25, dtype=torch.uint8), boxes, (300, 300))
    found = Detections.from_masks(masks, torch.ones(2500), torch.zeros(2500).long())
    linker = Linker()
    assert linker.add(found).tolist() == linker.add(found).tolist() == list(range(1, 2501))


@pytest.mark.parametrize(("settings", "message"), [({"min_iou": 0}, "min_iou"), ({"max_gap": -1}, "max_gap")])
def test_settings_that_are_wrong(settings, message):
    with pytest.raises(SegkitError, match=message):
        Linker(**settings)


def test_frames_of_another_size_and_boxes():
    linker = Linker()
    linker.add(detections_of([disc((10, 10))]))
    small = InstanceMasks.from_dense(torch.ones(1, 5, 5, dtype=torch.bool))
    with pytest.raises(SegkitError, match=r"frame 1 is \(5, 5\) and those before it are \(60, 80\)"):
        linker.add(Detections.from_masks(small, torch.ones(1), torch.zeros(1).long()))
    with pytest.raises(SegkitError, match="needs masks"):
        linker.add(Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), None, SIZE))


@pytest.mark.parametrize(
    ("axes", "shape"), [("TYX", (5, 20, 30)), ("TCYX", (5, 2, 20, 30)), ("TZYX", (5, 3, 20, 30)), (None, (5, 20, 30))]
)
@pytest.mark.parametrize("ome", [False, True])
def test_stacks(tmp_path, axes, shape, ome):
    """The frames are those of tifffile; without axes the pages are."""
    values = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    path = tmp_path / "movie.ome.tif" if ome and axes else tmp_path / "movie.tif"
    if axes:
        tifffile.imwrite(path, values, ome=ome, imagej=not ome, metadata={"axes": axes})
    else:
        tifffile.imwrite(path, values, photometric="minisblack", metadata=None)
    planes = Planes(z=1) if axes == "TZYX" else Planes()
    reader = ImageReader(planes, "all" if axes == "TCYX" else None)
    frames = find_series([path], reader)
    assert [frame.index for frame in frames.values()] == list(range(5)) and len({*frames}) == 5
    for frame in frames.values():
        expected = values[frame.index]
        expected = expected[1] if axes == "TZYX" else np.moveaxis(expected, 0, -1) if axes == "TCYX" else expected
        assert np.array_equal(ImageFile(frame.file, frame.planes).read().pixels.squeeze(), expected)


def write_sequence(folder, times, size=(20, 30)):
    folder.mkdir(exist_ok=True)
    files = [folder / f"t_{n}.png" for n in times]
    for n, file in zip(times, files, strict=True):
        Image.fromarray(np.full(size, int(n), np.uint8)).save(file)
    return files


def test_numbered_files(tmp_path, caplog):
    files = write_sequence(tmp_path / "cells", [10, 9, 12, 8])
    frames = find_series(files)
    assert [(frame.index, frame.file.name) for frame in frames.values()] == [
        (0, "t_8.png"), (1, "t_9.png"), (2, "t_10.png"), (4, "t_12.png")
    ]  # fmt: skip
    assert "1 frame missing: 11" in caplog.text and {frame.series for frame in frames.values()} == {
        (tmp_path / "cells" / "t").as_posix()
    }


def test_files_that_are_numbered_in_steps(tmp_path, caplog):
    frames = find_series(write_sequence(tmp_path / "cells", [100, 105, 115]))
    assert [frame.index for frame in frames.values()] == [0, 1, 3]
    assert "1 frame missing: 110" in caplog.text


def test_files_that_are_no_series(tmp_path):
    (file,) = write_sequence(tmp_path / "a", [1])
    plain = file.with_name("plain.png")
    file.rename(plain)
    with pytest.raises(SegkitError, match=r"plain\.png: holds one image.*number"):
        find_series([plain])
    files = write_sequence(tmp_path / "b", [1]) + write_sequence(tmp_path / "b", [2], (5, 5))
    with pytest.raises(SegkitError, match=r"t_1\.png is 20 x 30 and .*t_2\.png 5 x 5"):
        find_series(files)
    with pytest.raises(SegkitError, match=r"data\.planes\.time"):
        find_series(files, ImageReader(Planes(time=1)))


@pytest.mark.parametrize("second", ["a.tiff", "a_0.png", "a_t0000.tif"])
def test_series_of_one_name(tmp_path, second):
    """A stack, and a stack, a numbered file, or the name of a frame that would take its place."""
    first, other = movie(tmp_path, 2, "a.tif"), tmp_path / second
    if second == "a.tiff":
        movie(tmp_path, 2, second)
    else:
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(other)
    for files in ([first, other], [other, first]):
        with pytest.raises(SegkitError, match=r"one name") as raised:
            find_series(files)
        assert str(first) in str(raised.value) and str(other) in str(raised.value)


def test_a_stack_that_is_z(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((3, 20, 30), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(SegkitError, match=r"stack\.tif: holds 3 z planes.*data\.planes\.z"):
        find_series([path])


class MovingDisc:
    """A predictor: a disc whose place is the brightness of the image."""

    def __call__(self, images, batch_size=None):
        return [detections_of([disc((10 + int(image[0, 0, 0]), 20))]) for image in images]


def movie(tmp_path, frames=6, name="movie.tif"):
    path = tmp_path / name
    values = np.stack([np.full(SIZE, 2 * t, np.uint8) for t in range(frames)])
    tifffile.imwrite(path, values, imagej=True, metadata={"axes": "TYX"})
    return path


def test_predict_series(tmp_path):
    images = list(predict_series(MovingDisc(), movie(tmp_path), batch_size=4))
    assert [image.frame for image in images] == list(range(6)) and {
        tuple(image.track_ids.tolist()) for image in images
    } == {(1,)}
    assert len({image.stem for image in images}) == 6 and images[2].object_ids.tolist() == [1]


class Stop(Exception):
    pass


def make_run(tmp_path, output, inputs, fail_at=None, shard=Shard(1, 1)):  # noqa: B008
    (tmp_path / output).mkdir(exist_ok=True)

    class Failing(CocoResultWriter):
        def add(self, image):
            super().add(image)
            if fail_at is not None and image.name.endswith(fail_at):
                raise Stop

    def writers(parts):
        common = (tmp_path / output, ["disc"], [1], parts)
        return [Failing(*common), TrackResultWriter(*common)]

    return PredictionRun(tmp_path / output, inputs, writers, {}, shard=shard, batch_size=4, make_linker=Linker)


def test_a_prediction_of_series(tmp_path):
    inputs = find_series([movie(tmp_path), movie(tmp_path, 5, "other.tif")])
    make_run(tmp_path, "whole", inputs).run(MovingDisc())
    rows = list(csv.DictReader((tmp_path / "whole" / "tracks.csv").open(newline="")))
    assert [(Path(row["series"]).name, row["track"], row["first_frame"], row["last_frame"], row["frames"]) for row in rows] == [
        ("movie", "1", "0", "5", "6"), ("other", "1", "0", "4", "5")
    ]  # fmt: skip
    annotations = json.loads((tmp_path / "whole" / "predictions.json").read_text())["annotations"]
    assert {one["track_id"] for one in annotations} == {1} and len(annotations) == 11
    # Interrupted in the second series: it is continued at its beginning, and the tracks are the same.
    with pytest.raises(Stop):
        make_run(tmp_path, "out", inputs, fail_at="other_t0003.tif").run(MovingDisc())
    make_run(tmp_path, "out", inputs).run(MovingDisc(), resume=True)
    for i in (2, 1):
        make_run(tmp_path, "shards", inputs, shard=Shard(i, 2)).run(MovingDisc())
    for name in ("tracks.csv", "predictions.json"):
        expected = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == expected == (tmp_path / "shards" / name).read_bytes()


def test_shards_hold_whole_series():
    inputs = {f"{s}{t}": Frame(Path(s), Planes(time=t), s, t) for s in "abc" for t in range(3)}
    parts = [Shard(i, 2).part_of(inputs, 2) for i in (1, 2)]
    assert [{frame.series for frame in part.values()} for part in parts] == [{"a"}, {"b", "c"}]


def test_tracks_need_a_series(tmp_path):
    (image,) = list(predict_series(MovingDisc(), movie(tmp_path, 2)))[:1]
    image.track_ids = None
    run = make_run(tmp_path, "out", {})
    with pytest.raises(SegkitError, match="--series"):
        run.writers[1].add(image)
