"""``segkit dataset tile``: tiles with unchanged pixels, objects cut and counted, and a map back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from segkit.cli.dataset import tile as command
from segkit.data import build_dataset
from segkit.data.formats.recognition import INCOMPLETE
from segkit.data.writers.base import DatasetWriter
from segkit.dataset_tools import tile
from segkit.dataset_tools.source import OpenedData
from segkit.dataset_tools.tile import TileOptions, tile_dataset
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageFile, Planes
from segkit.utils.images.stored_image import StoredImage
from segkit.utils.images.stored_writer import write_stored

RNG = np.random.default_rng(0)
WRITTEN = []
CORNERS = [(5, 5, 10, 10), (35, 5, 30, 20), (38, 38, 4, 4)]  # x, y, width, height in the first image


def windows_of(output):
    return [e for e in json.loads((output / "tiles.json").read_text())["tiles"] if e["source_name"] == "a.tif"]


def share(window, box):
    x0, y0, x1, y1 = window
    x, y, w, h = box
    return max(0, min(x1, x + w) - max(x0, x)) * max(0, min(y1, y + h) - max(y0, y)) / (w * h)


class Standin(DatasetWriter):
    """Keeps what it is asked to write, and copies the images."""

    def write(self, image):
        image.copy_to(self.output / "images" / image.name)
        WRITTEN.append(image)


@pytest.fixture
def data(tmp_path, monkeypatch):
    WRITTEN.clear()
    monkeypatch.setitem(DATASET_WRITER_REGISTRY._obj_map, "standin", Standin)
    folder = tmp_path / "data"
    folder.mkdir()
    pixels = RNG.integers(0, 60000, (70, 100)).astype(np.uint16)
    tifffile.imwrite(folder / "a.tif", pixels, tile=(16, 16))
    Image.fromarray(RNG.integers(0, 255, (30, 30, 3)).astype(np.uint8)).save(folder / "b.png")
    annotations = [
        {
            "id": k + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [x, y, w, h], "area": w * h,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for k, (x, y, w, h) in enumerate(CORNERS)
    ]  # fmt: skip
    images = [
        {"id": 1, "file_name": "a.tif", "height": 70, "width": 100},
        {"id": 2, "file_name": "b.png", "height": 30, "width": 30},
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (folder / "x.json").write_text(json.dumps(content))
    spec = {"format": "coco", "json": str(folder / "x.json"), "images": str(folder)}
    opened = lambda source, format=None: OpenedData({"all": build_dataset(spec)}, {"all": spec}, "coco: test")  # noqa: E731
    monkeypatch.setattr(tile, "open_data", opened)
    return folder


def test_tiles_lead_back_to_the_stored_pixels(data, tmp_path):
    report = tile_dataset(str(data), tmp_path / "out", TileOptions((40, 40), 8), to="standin")
    tiles = json.loads((tmp_path / "out" / "tiles.json").read_text())["tiles"]
    assert report.counts["tiles"] == len(tiles) == len(WRITTEN) == 2 * 3 + 1
    for entry, image in zip(tiles, WRITTEN, strict=True):
        source = ImageFile(entry["source"]).read(tuple(entry["window"])).pixels
        written = ImageFile(tmp_path / "out" / "images" / entry["file_name"]).read().pixels
        assert written.dtype == source.dtype and (written == source).all()
        assert image.size == source.shape[:2] and image.targets.masks.image_size == image.size
        assert entry["image_id"] == image.image_id and entry["source_name"] in ("a.tif", "b.png")
    assert {path.suffix for path in (tmp_path / "out" / "images").iterdir()} == {".tif", ".png"}
    assert not list((tmp_path / "out").glob(".tiles-*"))


def test_every_object_is_accounted_for(data, tmp_path):
    whole = tile_dataset(str(data), tmp_path / "a", TileOptions((40, 40), 8), to="standin")
    assert whole.counts["objects"] == 3 and whole.counts["lost"] == 0
    assert whole.counts["parts"] == sum(len(image.targets) for image in WRITTEN) > 3
    shares = [share(entry["window"], box) for entry in windows_of(tmp_path / "a") for box in CORNERS]
    assert whole.counts["parts"] == sum(s > 0 for s in shares)
    assert whole.counts["cut"] == sum(0 < s < 1 for s in shares) > 0
    WRITTEN.clear()
    strict = TileOptions((40, 40), 0, min_visibility=0.9, keep_empty=False)
    report = tile_dataset(str(data), tmp_path / "b", strict, to="standin")
    kept = sum(len(image.targets) for image in WRITTEN)
    assert report.counts["lost"] == 2 and kept == 1 and report.counts["removed"] > 0
    assert report.counts["tiles"] + report.counts["empty"] == 2 * 3 + 1 and report.counts["empty"] > 0
    text = "\n".join(report.lines())
    assert "objects in no tile: 2" in text and "without objects skipped" in text


def test_refusals(data, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(SegkitError, match=r"full' has files"):
        tile_dataset(str(data), tmp_path / "full", TileOptions(), to="standin")
    with pytest.raises(SegkitError, match=r"standin"):
        tile_dataset(str(data), tmp_path / "new", TileOptions(), to="standn")
    with pytest.raises(SegkitError, match=r"overlap: expected 0 to 9"):
        tile_dataset(str(data), tmp_path / "new", TileOptions((10, 10), 10), to="standin")
    assert not (tmp_path / "new" / "tiles.json").exists()


def test_the_command(data, tmp_path, capsys):
    words = [str(data), "--output", str(tmp_path / "o"), "--size", "40", "--overlap", "8", "--to", "standin"]
    command.main(command.parse_arguments([*words, "--z", "max", "--skip-empty"]))
    printed = capsys.readouterr().out
    assert "2 images" in printed and "3 objects became" in printed and "coco: test" in printed
    with pytest.raises(SystemExit):
        command.parse_arguments([*words, "--z", "top"])
    assert "--z: expected an index from 0, max or mean; got 'top'" in capsys.readouterr().err


def stored(shape, dtype, color, **more):
    top = 1 if dtype == np.float32 else 4 if more.get("bits") == 4 else 200
    bits = more.pop("bits", np.dtype(dtype).itemsize * 8)
    return StoredImage((RNG.random(shape) * top).astype(dtype), color, bits, **more)


@pytest.mark.parametrize(
    "image",
    [
        stored((9, 8), np.uint8, "grey"),
        stored((9, 8, 3), np.uint8, "rgb"),
        stored((9, 8), np.uint16, "grey"),
        stored((9, 8), np.int16, "grey"),
        stored((9, 8, 3), np.uint16, "rgb"),
        stored((9, 8), np.float32, "grey"),
        stored((9, 8), np.uint8, "white_is_zero"),
        stored((9, 8, 4), np.uint8, "cmyk"),
        stored((9, 8, 4), np.uint8, "rgb", extra=("alpha",)),
        stored((9, 8, 2), np.uint8, "grey", extra=("unknown",)),
        stored((9, 8, 5), np.uint16, "channels", channel_names=("a", "b", "c", "d", "e")),
        stored((9, 8), np.uint8, "palette", palette=RNG.integers(0, 255, (256, 3)).astype(np.uint8)),
    ],
    ids=lambda image: f"{image.color}-{image.pixels.dtype}-{len(image.extra)}",
)
def test_stored_samples_are_written_as_they_are(tmp_path, image):
    path = write_stored(tmp_path / "x", image)
    again = ImageFile(path).read()
    assert again.pixels.dtype == image.pixels.dtype and (again.pixels == image.pixels).all()
    assert (again.color, again.extra, again.channel_names) == (image.color, image.extra, image.channel_names)
    assert (again.palette is None) == (image.palette is None)
    assert image.palette is None or (again.palette == image.palette).all()
    plain = image.pixels.dtype == np.uint8 and image.color in ("grey", "rgb") and not image.extra
    assert (path.suffix == ".png") == plain


def test_few_bits_are_spread(tmp_path):
    path = write_stored(tmp_path / "x", StoredImage(np.array([[0, 15, 5]], np.uint8), "grey", 4))
    assert ImageFile(path).read().pixels.tolist() == [[0, 255, 85]]


def test_planes_of_stacks(data, tmp_path):
    stack = RNG.integers(0, 200, (3, 70, 100)).astype(np.uint16)
    tifffile.imwrite(data / "a.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(SegkitError, match=r"a.tif: holds 3 pages.*data\.planes\.z"):
        tile_dataset(str(data), tmp_path / "a", TileOptions((40, 40), 8), to="standin")
    tile_dataset(str(data), tmp_path / "b", TileOptions((40, 40), 8, planes=Planes(z="max")), to="standin")
    first = ImageFile(tmp_path / "b" / "images" / WRITTEN[0].name).read().pixels
    assert (first == stack.max(0)[:40, :40]).all()


def test_unreadable_images_and_interruptions(data, tmp_path, monkeypatch):
    (data / "b.png").write_bytes(b"no image")
    with pytest.raises(SegkitError, match=r"b\.png.*--skip-unreadable.* is incomplete after 1 of 2 images"):
        tile_dataset(str(data), tmp_path / "strict", TileOptions((40, 40), 8), to="standin")
    report = tile_dataset(str(data), tmp_path / "out", TileOptions((40, 40), 8), to="standin", skip_unreadable=True)
    assert report.counts["images"] == 1 and "1 image skipped" in "\n".join(report.lines())
    assert not (tmp_path / "out" / INCOMPLETE).exists()
    monkeypatch.setattr(tile, "write_stored", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt, match=r"stopped' is incomplete after 0 of 2 images"):
        tile_dataset(str(data), tmp_path / "stopped", TileOptions((40, 40), 8), to="standin")
    assert (tmp_path / "stopped" / INCOMPLETE).exists()
