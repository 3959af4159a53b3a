"""The files of a submission, and the errors."""

from __future__ import annotations

import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api

from segkit.data.formats.id_map import ImageEntry, load_id_map
from segkit.data.formats.parsing import json_stream
from segkit.evaluation.submission import write_submission
from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError


def found(size, count=2):
    """Whole-box masks, so that the RLE's box is the detection's."""
    boxes = torch.tensor([[1.0, 2.0, 5.0, 8.0], [3.0, 0.0, 6.0, 4.0]])[:count]
    return Detections(
        boxes, torch.tensor([0.9, 0.6])[:count], torch.tensor([1, 0])[:count], torch.ones(count, 28, 28), size
    )


ID_MAP = [ImageEntry("b.tif", 5, (10, 12)), ImageEntry("a.tif", 2, (20, 9)), ImageEntry("c.tif", 9, None)]
FOUND = {"a.tif": found((20, 9)), "b.tif": found((10, 12), 1), "c.tif": found((9, 9), 0), "other.tif": found((9, 9))}


def test_both_files(tmp_path):
    paths = write_submission(FOUND, ID_MAP, [1, 4], tmp_path / "out")
    assert [p.name for p in paths] == ["test-results.json", "test-results.zip"]
    results = json.loads(paths[0].read_text())
    assert [r["image_id"] for r in results] == [5, 2, 2]  # the id map's order; images without detections have no line
    assert results[0].keys() == {"image_id", "bbox", "score", "category_id", "segmentation"}
    assert results[0]["bbox"] == [1.0, 2.0, 4.0, 6.0] and results[0]["category_id"] == 4
    assert results[2]["category_id"] == 1
    mask = mask_api.decode(results[0]["segmentation"])
    assert mask.shape == (10, 12) and np.array_equal(np.argwhere(mask)[[0, -1]], [[2, 1], [7, 4]])
    with zipfile.ZipFile(paths[1]) as archive:
        assert archive.namelist() == ["test-results.json"]
        assert archive.read("test-results.json") == paths[0].read_bytes()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["test-results.json", "test-results.zip"]


def test_nothing_stops_at_a_hundred(tmp_path):
    many = Detections(
        torch.tensor([[1.0, 2, 5, 8]]).repeat(250, 1),
        torch.linspace(1, 0, 250),
        torch.zeros(250, dtype=torch.long),
        torch.ones(250, 2, 2),
        (10, 12),
    )
    write_submission({"b.tif": many}, ID_MAP[:1], [1, 4], tmp_path)
    assert len(json.loads((tmp_path / "test-results.json").read_text())) == 250


def test_a_generator_is_enough(tmp_path):
    write_submission(((name, d) for name, d in FOUND.items()), ID_MAP, [1, 4], tmp_path)
    assert len(json.loads((tmp_path / "test-results.json").read_text())) == 3


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        ({"a.tif": FOUND["a.tif"]}, r"2 of the 3 images of the id map .* b.tif, c.tif"),
        ({**FOUND, "a.tif": found((9, 20))}, r"a.tif: the image is 20 x 9 pixels, but the id map says 9 x 20"),
        ([*FOUND.items(), ("a.tif", FOUND["a.tif"])], "a.tif was predicted twice"),
    ],
)
def test_mistakes_write_nothing(detections, message, tmp_path):
    with pytest.raises(SegkitError, match=message):
        write_submission(detections, ID_MAP, [1, 4], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    ["[", "{}", '["a"]', '[{"file_name": "a", "id": 1}, {"file_name": "b", "id": 1}]', '[{"file_name": "a"}]'],
)
def test_bad_id_maps(content, tmp_path):
    (tmp_path / "ids.json").write_text(content)
    with pytest.raises(SegkitError, match=r"ids\.json"):
        load_id_map(str(tmp_path / "ids.json"))


def test_an_id_map_in_a_large_coco_file(tmp_path, monkeypatch):
    """It is read as a stream, also past what comes before the images."""
    monkeypatch.setattr(json_stream, "CHUNK", 1 << 16)
    path = tmp_path / "instances.json"
    annotation = json.dumps({"id": 1, "segmentation": [[1.5] * 100]})
    with open(path, "w") as file:
        file.write('{"annotations": [' + ",".join([annotation] * 8_000))
        file.write('], "images": [{"file_name": "a", "id": 3, "height": 4, "width": 5}, {"file_name": "b", "id": 2}]}')
    assert path.stat().st_size > 4e6
    tracemalloc.start()
    entries = load_id_map(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert entries == [ImageEntry("a", 3, (4, 5)), ImageEntry("b", 2, None)]
    assert peak < 1e6
