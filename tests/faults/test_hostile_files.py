"""Downloaded files run no code and reach no file outside of their folder: a hostile file of each kind."""

import json
import pickle
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segkit.config import load_config, load_config_dict
from segkit.data import build_dataset
from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.replay import replay
from segkit.modeling.weights.reading import read_file
from segkit.utils import images
from segkit.utils.errors import SegkitError
from segkit.utils.images import image_size, read_image, read_pixels
from segkit.utils.paths.file_names import unique_stems

URL = "https://example.org/configs/good.yaml"


@pytest.fixture
def download(tmp_path, monkeypatch):
    """A folder in place of https://example.org/configs/."""
    import segkit.config.loader as loader

    local = loader.local_path

    def fake(path, what="file", **options):
        return local(str(path).replace("https://example.org/configs", str(tmp_path)), what, **options)

    monkeypatch.setattr(loader, "local_path", fake)
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield tmp_path
    sys.modules.pop("evil_module", None)


def write(folder, name, **keys):
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())
    (folder / name).write_text("_BASE_: segkit://quickstart.yaml\n" + text)


@pytest.mark.parametrize("key, value", [("imports", ["evil_module"]), ("imports_from", ["/tmp"])])
def test_a_config_from_a_url_imports_nothing(download, key, value):
    write(download, "good.yaml", **{key: value})
    with pytest.raises(SegkitError, match=rf"{key} .*good.yaml:2.*may not run Python modules here"):
        load_config(URL)
    (download / "mine.yaml").write_text(f"_BASE_: {URL}\n")
    with pytest.raises(SegkitError, match=r"may not run Python modules here"):
        load_config(download / "mine.yaml")
    assert not (download / "ran").exists()


def test_imports_of_a_url_where_they_are_allowed(download):
    write(download, "good.yaml", imports=["evil_module"])
    load_config(URL, allow_imports=True)
    assert (download / "ran").exists()


def test_a_checkpoints_config(download):
    plain = {**load_config("segkit://quickstart.yaml").to_dict(), "imports": ["evil_module"]}
    with pytest.raises(SegkitError, match=r"may not run Python modules here"):
        load_config_dict(plain, "https://example.org/model.pth")
    assert not (download / "ran").exists()


def test_a_batchs_config(download, monkeypatch):
    plain = {**load_config("segkit://quickstart.yaml").to_dict(), "imports": ["evil_module"]}
    content = {"batches": [], "config": plain, "model": {}, "precision": "fp32"}
    monkeypatch.setattr("segkit.engine.replay.read_file", lambda path, what: content)
    with pytest.raises(SegkitError, match=r"may not run Python modules here"):
        replay("https://example.org/nonfinite_batch_0000001.pth", device="cpu")
    assert not (download / "ran").exists()


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system ''", "!!python/module:os ''"]
)
def test_yaml_with_python_in_it(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(f"_BASE_: segkit://quickstart.yaml\noutput_dir: {text}\n")
    with pytest.raises(SegkitError, match=r"not allowed in a config"):
        load_config(tmp_path / "c.yaml")
    with pytest.raises(SegkitError):
        load_config("segkit://quickstart.yaml", [f"output_dir={text}"])
    assert not (tmp_path / "ran").exists()


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_with_code_in_it(tmp_path):
    content = {"model": {"w": torch.zeros(1)}, "iteration": 1, "hooks": Touch(tmp_path / "ran")}
    torch.save(content, tmp_path / "zip.pth")
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(content))
    for read in (read_checkpoint, read_file):
        for name in ("zip.pth", "old.pth", "plain.pkl"):
            with pytest.raises(SegkitError, match=name):
                read(str(tmp_path / name))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/secret.png", "a/../../secret.png", "..\\secret.png", "a\0.png"]
)
def test_annotations_that_leave_the_folder_of_images(tmp_path, name):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    entry = {"id": 1, "file_name": name, "height": 8, "width": 8}
    content = {"images": [entry], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "ids.json").write_text(json.dumps([entry]))
    folder = str(tmp_path / "images")
    with pytest.raises(SegkitError):
        build_dataset({"format": "coco", "json": str(tmp_path / "a.json"), "images": folder})
    with pytest.raises(SegkitError):
        build_dataset({"format": "image_folder", "root": folder, "id_map": str(tmp_path / "ids.json")})


def test_names_of_results_stay_in_their_folder():
    names = ["../../a.png", "/etc/a.png", "b/a.png", "..", "x/..", "c/../../../d.png"]
    for name in unique_stems(names):
        assert "/" not in name and (Path("out") / f"{name}.png").resolve().parent == Path("out").resolve()


def png_bomb(path, width, height):
    """A PNG of a few bytes with a header of ``width`` x ``height`` pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


def test_decompression_bombs(tmp_path):
    png_bomb(tmp_path / "bomb.png", 100_000, 100_000)
    for read in (read_image, read_pixels, image_size):
        with pytest.raises(SegkitError, match=r"bomb.png: .*MAX_IMAGE_PIXELS"):
            read(tmp_path / "bomb.png")


def test_a_limit_for_tiffs_that_pillow_cannot_read(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "bomb.tif", np.zeros((90, 90, 3), np.uint16), compression=None)
    assert images.read_image(tmp_path / "bomb.tif").shape == (3, 90, 90)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(SegkitError, match=r"bomb.tif: .*pixels"):
        read_image(tmp_path / "bomb.tif")
