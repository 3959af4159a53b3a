"""``segkit dataset split``: shares, groups, copies, lists that are read back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segkit import SegkitError
from segkit.cli.main import main
from segkit.data import Synthetic, build_dataset
from segkit.data.formats import recognize
from segkit.data.stratified_groups import connected_groups, divide
from segkit.dataset_tools.source import open_data
from segkit.dataset_tools.splitting.near_duplicates import CORRELATION, duplicate_pairs, image_print, image_prints
from segkit.dataset_tools.splitting.split import split_data
from segkit.dataset_tools.unreadable import UnreadableImages
from segkit.dataset_tools.writing import make_output, write_splits
from segkit.utils.images import ImageReader, LazyImage
from segkit.utils.images.overview import overview, windows


@pytest.fixture
def maps(tmp_path):
    """Twenty images of ten patients, with one object each; the last two are copies of the first."""
    random = np.random.default_rng(0)
    for i in range(20):
        folder = tmp_path / f"maps/p{i // 2}_{i % 2}"
        folder.mkdir(parents=True)
        pixels = random.integers(0, 256, (6, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        if i == 0:
            first = pixels
        elif i == 18:
            pixels = first
        elif i == 19:
            pixels = (first * 0.9).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "image.png")
        labels = np.zeros((24, 24), np.uint8)
        labels[: 3 + i, :5] = 1
        Image.fromarray(labels).save(folder / f"class{1 + i % 2}.png")
    return tmp_path / "maps"


def names(splits) -> dict[str, list[str]]:
    return {name: [file.split("/")[-2] for file in data.image_files()] for name, data in splits.items()}


def test_lists_that_train_as_they_are(maps, tmp_path, capsys):
    words = ["--fractions", "train=0.6", "val=0.2", "test=0.2", "--group", r"^(p\d+)_"]
    main(["dataset", "split", str(maps), "--output", str(tmp_path / "out"), *words])
    printed = capsys.readouterr().out
    assert (
        "equal or nearly equal to another image: 2 images" in printed
        and "9 groups" in printed
        and "class class2" in printed
    )
    found = names(open_data(str(tmp_path / "out")).splits)
    assert {name: len(images) for name, images in found.items()} == {"train": 12, "val": 4, "test": 4}
    split_of = {image: name for name, images in found.items() for image in images}
    assert len(split_of) == 20
    assert all(split_of[f"p{k}_0"] == split_of[f"p{k}_1"] for k in range(10))
    assert split_of["p9_0"] == split_of["p9_1"] == split_of["p0_0"]  # the copies
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "splits.json",
        "test.txt",
        "train.txt",
        "val.txt",
    ]


def test_a_seed_fixes_the_division(maps, tmp_path):
    found = [
        split_data(str(maps), str(tmp_path / f"o{i}"), {"a": 0.5, "b": 0.5}, seed=s).indices
        for i, s in enumerate((1, 1, 2))
    ]
    assert found[0] == found[1] != found[2]


def test_written_in_a_format(maps, tmp_path):
    split_data(str(maps), str(tmp_path / "out"), {"train": 0.8, "val": 0.2}, to="coco", link=True)
    opened = open_data(str(tmp_path / "out"))
    assert opened.reason.startswith("coco") and {n: len(d) for n, d in opened.splits.items()} == {"train": 16, "val": 4}


def test_reader_and_errors_of_lists(maps, tmp_path):
    split_data(str(maps), str(tmp_path / "out"), {"train": 0.8, "val": 0.2})
    spec = recognize(tmp_path / "out").splits["val"]
    data = build_dataset(spec)
    reader = type(data.reader)()
    data.reader = reader
    assert data.dataset.reader is reader and data.load(0).image.shape == (3, 24, 24)
    few = build_dataset({"format": "subset", "dataset": spec["dataset"], "count": 5, "seed": 3})
    assert len(few) == 5 and few.indices == sorted(set(few.indices)) != list(range(5)) and "5 of 20" in few.describe()
    for options, message in (({"count": 21}, "from 1 to 20"), ({"count": 0}, "from 1 to 20"), ({}, "either names")):
        with pytest.raises(SegkitError, match=message):
            build_dataset({"format": "subset", "dataset": spec["dataset"], **options})
    for text, message in (
        ("p1_0/imag.png\n", r"1 of 1 names.*did you mean 'p1_0/image\.png'"),
        ("\n", "lists no images"),
        ("p1_0/image.png\np1_0/image.png\n", "names 1 images twice"),
    ):
        (tmp_path / "out/val.txt").write_text(text)
        with pytest.raises(SegkitError, match=message):
            build_dataset(spec)
    (tmp_path / "out/splits.json").write_text('{"dataset": {}, "splits": {"train": "../../x.txt"}}')
    with pytest.raises(SegkitError, match="no data format fits"):
        recognize(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fractions": {"train": 0.8, "val": 0.3}}, r"sum is 1\.1"),
        ({"fractions": {"train": 1.0}}, "two splits or more"),
        ({"group": "x("}, "--group.*not a regular expression"),
        ({"group": "p1"}, "matches 2 of 20 names, and not p0_0"),
        ({"group": "p"}, "would have no images: .* 1 group"),
        ({"by": ["clas"]}, "did you mean 'class'"),
        ({"only": "train"}, "--split: .* has no splits"),
        ({"to": "coc"}, "did you mean 'coco'"),
    ],
)
def test_mistakes(maps, tmp_path, change, message):
    arguments = {"fractions": {"train": 0.8, "val": 0.2}, **change}
    with pytest.raises(SegkitError, match=message):
        split_data(str(maps), str(tmp_path / "out"), **arguments)
    assert not (tmp_path / "out").exists()


def test_a_split_is_named_once(capsys):
    with pytest.raises(SystemExit):
        main(["dataset", "split", "data", "--output", "out", "--fractions", "train=0.5", "train=0.5"])
    assert "'train' is given twice" in capsys.readouterr().err


def test_every_stratum_has_its_share():
    random = np.random.default_rng(1)
    strata = [Counter({int(k): int(random.integers(1, 9)) for k in random.integers(0, 5, 2)}) for _ in range(300)]
    groups = [[i, i + 1] for i in range(0, 100, 2)] + [[i] for i in range(100, 300)]
    shares = {"train": 0.7, "val": 0.2, "test": 0.1}
    found = divide(groups, strata, shares, range(len(groups)))
    assert sorted(i for indices in found.values() for i in indices) == list(range(300))
    assert all((i in indices) == (i + 1 in indices) for indices in found.values() for i in range(0, 100, 2))
    for split, share in shares.items():
        assert abs(len(found[split]) - 300 * share) <= 1
        for k in range(5):
            objects = sum(strata[i][k] for i in found[split])
            assert objects == pytest.approx(share * sum(s[k] for s in strata), rel=0.12)


def test_connected_groups():
    assert connected_groups(6, [(4, 2), (0, 5), (2, 1)]) == [[0, 5], [1, 2, 4], [3]]


def test_prints_of_copies_and_of_others():
    random = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (3, 12, 12), generator=random).float()
    picture = torch.nn.functional.interpolate(coarse[None], (96, 96), mode="bicubic")[0].clamp(0, 255)
    small = torch.nn.functional.interpolate(picture[None], (60, 60), mode="area")[0]
    first, copy = (image_print(image.to(torch.uint8)) for image in (picture, small * 0.8 + 9))
    assert (first.bits != copy.bits).sum() <= 6 and first.thumbnail @ copy.thumbnail > CORRELATION
    assert image_print(torch.full((3, 9, 9), 7, dtype=torch.uint8)).thumbnail.any() == 0


def test_different_images_are_not_copies(tmp_path):
    for i in range(6):  # dark images, each with one spot elsewhere
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[8 * i : 8 * i + 9, 20:40] = 200
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    assert duplicate_pairs(image_prints(open_data(str(tmp_path)).splits["all"], UnreadableImages())) == []


def test_unreadable_images_are_in_no_split(tmp_path):
    folder = make_output(tmp_path / "data/deep")
    write_splits({"all": Synthetic(num_images=8, seed=0)}, {"format": "coco"}, folder)
    (tmp_path / "data/deep/images/all/sub").mkdir()
    broken = sorted((folder / "images/all").glob("*.png"))[3]
    broken.write_bytes(b"no image")
    with pytest.raises(SegkitError, match=rf"{broken.name}.*--skip-unreadable"):
        split_data(str(folder), str(tmp_path / "strict"), {"train": 0.5, "val": 0.5})
    result = split_data(str(folder), str(tmp_path / "lists"), {"train": 0.5, "val": 0.5}, skip_unreadable=True)
    opened = open_data(str(tmp_path / "lists"))
    listed = [Path(file).name for data in opened.splits.values() for file in data.image_files()]
    assert len(set(listed)) == 7 and broken.name not in listed and len(result.unreadable) == 1


def test_the_print_of_a_large_image_is_that_of_the_whole(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 255, (70, 90), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(16, 16))
    monkeypatch.setattr("segkit.utils.images.overview.WINDOW", 32)
    reader = ImageReader()
    lazy = LazyImage(reader, tmp_path / "a.tif", (70, 90), 3)
    found, whole = image_print(lazy), image_print(reader.read(tmp_path / "a.tif"))
    assert (found.bits == whole.bits).all() and np.abs(found.thumbnail - whole.thumbnail).max() < 1e-5
    sizes = [(y1 - y0) * (x1 - x0) for x0, y0, x1, y1 in windows(lazy)]
    assert max(sizes) <= 32 * 32 and sum(sizes) == 70 * 90
    small = overview(lazy, (7, 9))
    assert torch.allclose(small, overview(reader.read(tmp_path / "a.tif"), (7, 9)), atol=1e-3)
