"""The label maps of a time series as one stack."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from masked_images import detections, disks, image_of, written

from segkit.results import LabelMapResultWriter, PartFiles
from segkit.utils.errors import SegkitError
from segkit.utils.images import PixelSize, Planes, read_pixel_size, read_pixels


def frame_of(frame, tracks, size=(30, 40), series="films/run.tif", **fields):
    found = detections(disks(len(tracks), size, frame))
    fields |= {"series": series, "frame": frame, "track_ids": torch.tensor(tracks)}
    return image_of(found, f"run_{frame}.tif", **fields)


@pytest.mark.parametrize("size", [(30, 40), (700, 300), (5, 3), (4, 4)])
@pytest.mark.parametrize("highest", [9, 70_000])
def test_a_series_is_a_stack_with_a_frame_for_each_image(tmp_path, size, highest):
    frames = [frame_of(k, tracks, size) for k, tracks in ((0, [1, 2]), (1, [2, 1, highest]), (3, [4]))]
    folders = written(LabelMapResultWriter, tmp_path, [*frames, image_of(detections(disks(1, size)))], pixel_size=0.5)
    assert folders == [tmp_path / "label_maps", tmp_path / "label_stacks"]
    path = tmp_path / "label_stacks" / "run.tif"
    assert [file.name for file in path.parent.iterdir()] == ["run.tif"]
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej and file.series[0].axes == "TYX" and file.imagej_metadata["max"] == highest
        stack = file.asarray()
    assert stack.dtype == (np.uint16 if highest == 9 else np.uint32)
    for k in (0, 1, 3):
        np.testing.assert_array_equal(stack[k], read_pixels(tmp_path / "label_maps" / f"run_{k}.tif"))
    assert not stack[2].any()  # the frame that was not predicted
    assert read_pixel_size(path, Planes(time=1)) == PixelSize(0.5, 0.5)


def test_frames_of_several_processes_are_one_stack(tmp_path):
    frames = [frame_of(k, [1, 2]) for k in range(4)]
    written(LabelMapResultWriter, tmp_path, frames)
    whole = (tmp_path / "label_stacks" / "run.tif").read_bytes()
    for folder, own in (("one", frames[::2]), ("two", frames[1::2])):
        parts = PartFiles(tmp_path / folder)
        written(LabelMapResultWriter, tmp_path, own, parts)
        parts.close()
    written(LabelMapResultWriter, tmp_path, [], PartFiles(tmp_path / "three", [tmp_path / "one", tmp_path / "two"]))
    assert (tmp_path / "label_stacks" / "run.tif").read_bytes() == whole


def test_two_series_of_one_name_are_two_files(tmp_path):
    frames = [frame_of(0, [1], series="a/run.tif"), frame_of(1, [1], series="b/run.tif")]
    written(LabelMapResultWriter, tmp_path, frames)
    assert sorted(file.name for file in (tmp_path / "label_stacks").iterdir()) == ["a__run.tif", "b__run.tif"]


def test_frames_of_several_sizes_are_no_stack(tmp_path, caplog):
    frames = [frame_of(0, [1]), frame_of(1, [1], (8, 9))]
    assert written(LabelMapResultWriter, tmp_path, frames) == [tmp_path / "label_maps"]
    assert "films/run.tif have 2 sizes" in caplog.text and not list((tmp_path / "label_stacks").iterdir())


def test_stacks_can_be_switched_off(tmp_path):
    assert written(LabelMapResultWriter, tmp_path, [frame_of(0, [1])], stacks=False) == [tmp_path / "label_maps"]
    assert not (tmp_path / "label_stacks").exists()


def test_a_stack_does_not_replace_an_input(tmp_path):
    source = tmp_path / "label_stacks" / "run.tif"
    source.parent.mkdir()
    tifffile.imwrite(source, np.zeros((30, 40), np.uint8))
    with pytest.raises(SegkitError, match="choose another output folder"):
        written(LabelMapResultWriter, tmp_path, [frame_of(0, [1], file=source)])
