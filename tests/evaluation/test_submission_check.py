"""Checks of a finished submission against the id map."""

import json
import zipfile

import pytest
import torch

from segkit.data.formats.id_map import ImageEntry
from segkit.evaluation import SubmissionWriter, check_submission, write_submission
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.utils.errors import SegkitError

ID_MAP = [ImageEntry("b.tif", 5, (10, 12)), ImageEntry("a.tif", 2, (20, 9)), ImageEntry("c.tif", 9, None)]
IDS = [1, 4]


def found(size, count=2):
    dense = torch.zeros(count, *size, dtype=torch.bool)
    dense[:, 1:5, 2:6] = True
    masks = InstanceMasks.from_dense(dense)
    return Detections.from_masks(masks, torch.tensor([0.9, 0.625])[:count], torch.tensor([1, 0])[:count])


@pytest.fixture
def written(tmp_path):
    detections = {"a.tif": found((20, 9)), "b.tif": found((10, 12), 1), "c.tif": found((9, 9), 0)}
    write_submission(detections, ID_MAP, IDS, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["test-results.json", "test-results.zip"])
def test_a_valid_submission(written, name):
    summary = check_submission(written / name, ID_MAP, IDS)
    assert (summary.images, summary.detections, summary.without_detections) == (3, 3, ["c.tif"])
    assert summary.by_category == {1: 1, 4: 2} and summary.lowest_score == 0.625
    text = str(summary)
    assert "3 detections in 2 of 3 images" in text and "c.tif" in text and "lowest score 0.625" in text


def test_the_writer_checks_what_it_wrote(tmp_path):
    writer = SubmissionWriter(tmp_path, ID_MAP, IDS)
    assert writer.summary is None
    for entry in ID_MAP:
        writer.add(entry.file_name, None, found(entry.size or (9, 9)))
    writer.close()
    assert writer.summary == check_submission(tmp_path / "test-results.json", ID_MAP)
    assert writer.summary.without_detections == [] and "without" not in str(writer.summary)
    strange = SubmissionWriter(tmp_path / "nan", ID_MAP[:1], IDS)
    one = found((10, 12))
    one.scores[1] = float("nan")
    strange.add("b.tif", None, one)
    with pytest.raises(SegkitError, match=r"results\[1\].*nan.*b\.tif"):
        strange.close()


def test_no_detections_at_all(tmp_path):
    path = tmp_path / "empty.json"
    path.write_text("[]")
    summary = check_submission(path, ID_MAP)
    assert summary.without_detections == ["b.tif", "a.tif", "c.tif"] and summary.lowest_score is None
    assert "0 detections in 0 of 3 images" in str(summary)


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"image_id": 6}, ["image id 6", "5"]),
        ({"category_id": 3}, ["category_id 3", "1, 4"]),
        ({"score": 1.5}, ["score 1.5", "0..1"]),
        ({"bbox": None}, ["'bbox'", "submission"]),
        ({"segmentation": None}, ["'segmentation'", "submission"]),
        ({"segmentation": {"size": [12, 10], "counts": [120]}}, ["size [12, 10]", "b.tif"]),
        ({"segmentation": {"size": [10, 12], "counts": [119]}}, ["119 pixels", "b.tif"]),
        ({"bbox": [40, 1, 2, 3]}, ["outside", "12 x 10", "b.tif"]),
    ],
)
def test_what_is_wrong_is_named(written, change, facts):
    path = written / "test-results.json"
    results = json.loads(path.read_text())
    results[0] |= change
    path.write_text(json.dumps(results))
    with pytest.raises(SegkitError) as error:
        check_submission(path, ID_MAP, IDS)
    assert all(fact in str(error.value) for fact in [str(path), "results[0]", *facts]), str(error.value)


@pytest.mark.parametrize("size", [None, [10], [0, 4], "ab"])
def test_sizes_of_images_that_the_id_map_does_not_state(tmp_path, size):
    path = tmp_path / "r.json"
    result = {"image_id": 9, "category_id": 1, "score": 1, "bbox": [0, 0, 1, 1], "segmentation": {"counts": [9]}}
    result["segmentation"]["size"] = size
    path.write_text(json.dumps([result]))
    with pytest.raises(SegkitError, match=r"results\[0\].*\[height, width\].*c\.tif"):
        check_submission(path, ID_MAP)


def test_category_ids_are_integers_without_a_list_of_them(tmp_path):
    path = tmp_path / "r.json"
    result = {"image_id": 9, "category_id": "1", "score": 1, "bbox": [0, 0, 1, 1]}
    path.write_text(json.dumps([{**result, "segmentation": {"size": [3, 3], "counts": [9]}}]))
    with pytest.raises(SegkitError, match=r"category_id '1'.*integer"):
        check_submission(path, ID_MAP)


def test_zips(tmp_path):
    path = tmp_path / "s.zip"
    for names, fact in (([], "none"), (["x.json"], "x.json"), (["test-results.json", "b"], "b")):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "[]")
        with pytest.raises(SegkitError, match=rf"exactly the file test-results\.json.*{fact}"):
            check_submission(path, ID_MAP)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("test-results.json", "{")
    with pytest.raises(SegkitError, match="no JSON"):
        check_submission(path, ID_MAP)
