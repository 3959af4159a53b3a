import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segkit.utils.errors import SegkitError
from segkit.utils.images import image_size, is_image_name, read_image, read_pixels, scale_to_uint8, write_image

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = COLOR[..., 0]


def _save(path, image):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_colour_and_grey(tmp_path, suffix):
    color = read_image(_save(tmp_path / f"c.{suffix}", COLOR))
    assert color.dtype == torch.uint8 and (color.numpy() == COLOR.transpose(2, 0, 1)).all()
    grey = read_image(_save(tmp_path / f"g.{suffix}", GREY))
    assert (grey.numpy() == GREY[None].repeat(3, 0)).all() and grey.permute(1, 2, 0).is_contiguous()


def test_alpha_is_dropped(tmp_path):
    rgba = np.dstack([COLOR, np.zeros((5, 7), np.uint8)])
    assert (read_image(_save(tmp_path / "a.tif", rgba)).numpy() == COLOR.transpose(2, 0, 1)).all()
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(np.zeros((5, 7), np.uint8))])
    assert (read_image(_save(tmp_path / "la.png", la)).numpy() == GREY[None].repeat(3, 0)).all()


def test_palette_is_looked_up_and_label_maps_keep_indices(tmp_path):
    image = Image.fromarray(GREY % 3).convert("P")
    image.putpalette([9, 8, 7, 100, 101, 102, 200, 201, 202] + [0] * 759)
    path = _save(tmp_path / "p.png", image)
    indices = read_pixels(path)
    colors = np.array([[9, 8, 7], [100, 101, 102], [200, 201, 202]], np.uint8)
    assert (read_image(path).numpy().transpose(1, 2, 0) == colors[indices]).all() and indices.max() == 2


def test_bilevel(tmp_path):
    path = _save(tmp_path / "b.png", Image.fromarray(GREY > 127))
    assert (read_image(path)[0].numpy() == (GREY > 127) * 255).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_bits_are_scaled_by_percentiles(tmp_path, dtype):
    values = np.linspace(1000, 3000, 10000).reshape(100, 100).astype(dtype)
    values[0, 0] = 30000  # one hot pixel must not darken all the others
    result = read_image(_save(tmp_path / "v.tif", values))
    assert result.shape == (3, 100, 100) and result[0, 0, 0] == 255
    assert abs(int(result[0, 50, 50]) - 128) < 4 and result[0].float().std() > 60


def test_flat_and_nearly_flat_images(tmp_path):
    assert not read_image(_save(tmp_path / "f.tif", np.full((9, 9), 700, np.uint16))).any()
    values = np.zeros((100, 100), np.uint16)
    values[3, 3] = 9
    assert read_image(_save(tmp_path / "n.tif", values)).sum() == 3 * 255
    with pytest.raises(SegkitError, match=r"^x: .*NaN"):
        scale_to_uint8(np.array([[np.nan]]), "x")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    image = Image.fromarray(COLOR)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "e.png", exif=exif)
    from PIL import ImageOps

    expected = np.array(ImageOps.exif_transpose(Image.open(tmp_path / "e.png")))
    result = read_image(tmp_path / "e.png")
    assert (result.numpy().transpose(1, 2, 0) == expected).all()
    assert image_size(tmp_path / "e.png") == tuple(result.shape[1:])


def test_stacks_are_refused(tmp_path):
    pages = [Image.fromarray(GREY)] * 3
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(SegkitError, match=r"s.tif: holds 3 pages"):
        read_image(tmp_path / "s.tif")


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jpg"])
def test_unreadable_files_are_named(tmp_path, name):
    with pytest.raises(SegkitError, match=f"{name}: there is no such image file"):
        read_image(tmp_path / name)
    (tmp_path / name).write_bytes(b"nothing of an image")
    with pytest.raises(SegkitError, match=f"{name}: cannot be read as an image") as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_paths_that_are_not_files(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "link.png").symlink_to("gone.png")
    (tmp_path / "Upper.PNG").write_bytes(b"x")
    for name, message in (
        ("folder.png", "is a folder, not an image"),
        ("empty.png", r"cannot be read as an image \(it is empty, 0 bytes\)"),
        ("link.png", "is a link to 'gone.png', which does not exist"),
        ("upper.png", r"there is no such image file; did you mean '.*Upper.PNG'\? \(upper and lower case differ\)"),
        ("empty.png/a.png", "there is no such image file: '.*empty.png' is a file, not a folder"),
    ):
        with pytest.raises(SegkitError, match=message):
            read_image(tmp_path / name)


def test_truncated_file(tmp_path):
    path = _save(tmp_path / "t.png", RNG.integers(0, 256, (90, 90, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(SegkitError, match=r"t.png: cannot be read"):
        read_image(path)


def test_colour_of_16_bits(tmp_path):
    values = RNG.integers(0, 60000, (5, 7, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "c16.tif", values)
    assert read_image(tmp_path / "c16.tif").shape == (3, 5, 7)


def test_write_and_names(tmp_path):
    write_image(tmp_path / "new" / "w.png", COLOR)
    assert (read_image(tmp_path / "new" / "w.png").numpy() == COLOR.transpose(2, 0, 1)).all()
    assert is_image_name("a.TIFF") and not is_image_name("a.txt")


def test_scaling_of_extreme_floats():
    with np.errstate(all="raise"):
        for values in ([-1.7e308, 0, 1.7e308], np.float32([-3e38, 0, 3e38]), [0, 5e-14, 1e-13]):
            low, middle, high = scale_to_uint8(np.array(values), "x").tolist()
            assert (low, high) == (0, 255) and middle in (127, 128)
