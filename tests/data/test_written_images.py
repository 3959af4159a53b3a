"""The images that every writer writes: of all types, upright, with names that differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segkit.data.writers import WritableImage
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures import InstanceMasks, Targets
from segkit.utils.images import ImageFile, ImageReader, Planes, is_image_name

H, W = 20, 30
ALL_CHANNELS = ImageReader(channels="all")


def files(folder: Path) -> dict[str, Path]:
    """A file of each kind of image, by its name."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (H, W, 3), dtype=np.uint8)
    tag = Image.Exif()
    tag[0x0112] = 6  # turned by a quarter: stored as W x H
    Image.fromarray(pixels.transpose(1, 0, 2)).save(folder / "turned.jpg", exif=tag)
    Image.fromarray(pixels.transpose(1, 0, 2)).save(folder / "turned.png", exif=tag)
    Image.fromarray(pixels).save(folder / "plain.png")
    Image.fromarray(random.integers(0, 65536, (H, W), dtype=np.uint16)).save(folder / "grey16.png")
    four = random.integers(0, 65536, (4, H, W), dtype=np.uint16)
    tifffile.imwrite(folder / "four.tif", four, photometric="minisblack", metadata={"axes": "CYX"})
    found = {path.stem: path for path in folder.iterdir() if path.suffix != ".png" or path.stem != "turned"}
    return {**found, "turned2": folder / "turned.png"}


def zarr_image(folder: Path) -> Path:
    import zarr

    zarr.save_array(folder / "z.zarr", np.random.default_rng(1).integers(0, 256, (H, W), dtype=np.uint8))
    return folder / "z.zarr"


def write(output: Path, format: str, images: list[WritableImage]) -> dict[str, int]:
    output.mkdir()
    with DATASET_WRITER_REGISTRY.build({"format": format}, output=output, classes=["a"], category_ids=[1]) as writer:
        for image in images:
            writer.write(image)
    return dict(writer.losses)


def written(output: Path) -> list[torch.Tensor]:
    """The images that a writer wrote, without label maps and masks."""
    found = (path for path in sorted(output.rglob("*")) if is_image_name(path.name))
    pages = [path for path in found if path.parent.name not in ("masks", "SegmentationObject", "SegmentationClass")]
    return [ALL_CHANNELS.read(path) for path in pages if not path.stem.startswith("class")]


@pytest.mark.parametrize("format", DATASET_WRITER_REGISTRY.names())
def test_images_are_those_of_the_source(tmp_path, format):
    (tmp_path / "in").mkdir()
    sources = [*files(tmp_path / "in").values(), zarr_image(tmp_path / "in")]
    masks = InstanceMasks.from_dense(torch.arange(H * W).reshape(1, H, W) < 50)
    targets = Targets(masks.boxes(), torch.zeros(1, dtype=torch.int64), masks)
    reader = ALL_CHANNELS
    images = [
        WritableImage(f"{i}_{s.name}", i, (H, W), targets, "train", s, sample=None) for i, s in enumerate(sources)
    ]
    for image, source in zip(images, sources, strict=True):
        assert reader.size(source) == image.size
        image._load = lambda source=source: type("Loaded", (), {"image": reader.read(source)})
    losses = write(tmp_path / "out", format, images)
    turned = [count for reason, count in losses.items() if "orientation" in reason]
    assert turned == [2], losses
    found = written(tmp_path / "out")
    assert len(found) == len(sources)
    for pixels, source in zip(found, sources, strict=True):
        assert torch.equal(pixels, reader.read(source)), source.name
    for path in (tmp_path / "out").rglob("*"):  # for tools that ignore the tag
        if path.suffix in (".png", ".jpg"):
            with Image.open(path) as image:
                assert image.size == (W, H)


@pytest.mark.parametrize("format", DATASET_WRITER_REGISTRY.names())
def test_links_are_not_made_to_turned_files(tmp_path, format):
    (tmp_path / "in").mkdir()
    source = files(tmp_path / "in")["turned"]
    write(
        tmp_path / "out", format, [WritableImage("a.jpg", 1, (H, W), Targets.empty((H, W)), "train", source, link=True)]
    )
    images = [path for path in (tmp_path / "out").rglob("*") if is_image_name(path.name)]
    assert images and not any(path.is_symlink() for path in images)


@pytest.mark.parametrize("format", DATASET_WRITER_REGISTRY.names())
def test_of_a_stack_the_selected_plane_is_written(tmp_path, format):
    stack = np.random.default_rng(0).integers(0, 65536, (3, H, W), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    targets = Targets.empty((H, W))
    for z, expected in ((1, stack[1]), ("max", stack.max(0))):
        planes = Planes(z=z)
        image = WritableImage("a.tif", 1, (H, W), targets, "train", tmp_path / "stack.tif", planes=planes)
        write(tmp_path / f"out{z}", format, [image])
        found = next(path for path in (tmp_path / f"out{z}").rglob("*.tif") if not path.stem.startswith("class"))
        assert np.array_equal(ImageFile(found).read().pixels, expected)
    plain = WritableImage("b.png", 1, (H, W), targets, "train", files(tmp_path)["plain"], planes=Planes(z=0))
    write(tmp_path / "plain", format, [plain])
    assert [path.name for path in (tmp_path / "plain").rglob("*.png") if "Seg" not in path.parent.name]
