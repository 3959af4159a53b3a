"""``segkit dataset convert``: all splits, losses, refusals, what an interruption leaves."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from segkit import SegkitError
from segkit.cli.main import main
from segkit.data import Synthetic
from segkit.data.formats import recognize
from segkit.data.formats.recognition import INCOMPLETE
from segkit.dataset_tools.convert import convert
from segkit.dataset_tools.source import open_data
from segkit.dataset_tools.writing import IDS_CHANGED, joint_classes, make_output, write_splits


@pytest.fixture
def maps(tmp_path):
    """Label maps of two splits with different classes."""
    for split, k in (("train", 1), ("val", 2)):
        for name in ("one", "two"):
            folder = tmp_path / "maps" / split / name
            folder.mkdir(parents=True)
            Image.fromarray(np.full((8, 9, 3), 90, np.uint8)).save(folder / "image.png")
            Image.fromarray(np.eye(8, 9, dtype=np.uint8)).save(folder / f"class{k}.png")
    return tmp_path / "maps"


def test_from_the_command_line(maps, tmp_path, capsys):
    output = tmp_path / "out"
    main(["dataset", "convert", str(maps), "--to", "coco", "--output", str(output), "segmentation=polygon"])
    printed = capsys.readouterr().out
    assert "coco, 4 images (train 2, val 2), 4 objects" in printed and "nothing was lost" in printed
    assert "4 images have another name" in printed
    opened = open_data(str(output))
    assert {name: (len(data), data.classes) for name, data in opened.splits.items()} == {
        "train": (2, ["class1", "class2"]), "val": (2, ["class1", "class2"]),
    }  # fmt: skip
    assert opened.splits["val"].load(0).targets.labels.tolist() == [1]
    assert sorted(path.name for path in (output / "images/train").iterdir()) == ["one.png", "two.png"]
    assert not (output / INCOMPLETE).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"to": "cocoo"}, "'cocoo' cannot be written; did you mean 'coco'"),
        ({"options": {"segmentatoin": "rle"}}, "no option 'segmentatoin'; did you mean 'segmentation'"),
        ({"options": {"segmentation": "mask"}}, "'mask' is not one of the choices; valid: polygon, rle"),
        ({"splits": ["vla"]}, "no split 'vla'; did you mean 'val'"),
        ({"output": "maps/inside"}, "lies in the data set itself"),
        ({"output": "maps"}, "has files"),
        ({"format": "coco"}, "no data set of the format coco"),
        ({"format": "kitti"}, "'kitti' is not a format"),
        ({"source": "mps"}, "does not exist; did you mean 'maps'"),
    ],
)
def test_mistakes_write_nothing(maps, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SegkitError, match=message):
        convert(**{"source": "maps", "to": "coco", "output": "out", **change})
    assert not (tmp_path / "out").exists() and sorted(path.name for path in maps.iterdir()) == ["train", "val"]


def test_an_interruption_leaves_a_mark(maps, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "segkit.data.writers.coco.CocoWriter.close", lambda self: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt, match=r"is incomplete after 4 of 4 images; delete it"):
        convert(str(maps), "coco", str(tmp_path / "out"))
    with pytest.raises(SegkitError, match="is unfinished"):
        recognize(tmp_path / "out")
    with pytest.raises(SegkitError, match="of an interrupted command"):
        convert(str(maps), "coco", str(tmp_path / "out"))


def test_an_unreadable_image_ends_the_conversion(maps, tmp_path):
    (maps / "val/two/image.png").write_bytes(b"no image")
    with pytest.raises(SegkitError, match=r"two/image\.png: .*out' is incomplete after 3 of 4 images"):
        convert(str(maps), "coco", str(tmp_path / "out"))


def test_classes_of_several_splits():
    first, second = (Synthetic(num_images=1, seed=seed) for seed in (0, 1))
    first.classes, first.category_ids = ["a", "b"], [1, 5]
    second.classes, second.category_ids = ["b", "c"], [5, 1]
    assert joint_classes([first, second]) == (["a", "b", "c"], [1, 5, 6], 1)


def test_changed_ids_are_counted(tmp_path):
    data = {"train": Synthetic(num_images=1, seed=0), "val": Synthetic(num_images=1, seed=0)}
    data["val"].category_ids = [k + 1 for k in data["val"].category_ids]
    report = write_splits(data, {"format": "coco"}, make_output(tmp_path / "out"))
    assert report.losses == {IDS_CHANGED: len(data["val"].classes)}


def test_a_configuration_is_a_source(maps, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(
        f"_BASE_: segkit://quickstart.yaml\ndata: {{train: {maps / 'train'}, val: {{from_train: 0.5}}}}\n"
    )
    opened = open_data(str(config))
    assert {name: len(data) for name, data in opened.splits.items()} == {"train": 1, "val": 1}


def test_unreadable_images_are_skipped_and_counted(maps, tmp_path, capsys):
    (maps / "val/two/image.png").write_bytes(b"no image")
    words = ["dataset", "convert", str(maps), "--to", "coco", "--skip-unreadable", "--output"]
    main([*words, str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "3 images (train 2, val 1)" in printed and "1 image skipped" in printed and "two/image.png" in printed
    assert "nothing was lost" not in printed
    assert {name: len(data) for name, data in open_data(str(tmp_path / "out")).splits.items()} == {"train": 2, "val": 1}
    for file in maps.glob("*/*/image.png"):
        file.write_bytes(b"no image")
    with pytest.raises(SegkitError, match=r"none of the 4 images can be read; the first: .*image\.png"):
        main([*words, str(tmp_path / "none")])


def test_an_image_of_another_size_is_unreadable(tmp_path):
    source = make_output(tmp_path / "coco")
    write_splits({"train": Synthetic(num_images=3, seed=0)}, {"format": "coco"}, source)
    first, second, _ = sorted((source / "images/train").iterdir())
    first.write_bytes(b"no image")
    Image.new("RGB", (7, 5)).save(second)
    with pytest.raises(SegkitError, match=r"--skip-unreadable"):
        convert(str(source), "yolo", str(tmp_path / "strict"))
    written = convert(str(source), "yolo", str(tmp_path / "out"), skip_unreadable=True)
    assert written.images == {"train": 1} and len(written.unreadable) == 2
    assert len(list((tmp_path / "out/images/train").iterdir())) == 1
