"""YOLO data sets: layouts, polygons and boxes, splits, faults."""

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.data.formats import build_dataset, recognize
from segkit.structures import InstanceMasks
from segkit.utils.errors import SegkitError

H, W = 40, 60
SQUARE = "0 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5"
BOX = "1 0.5 0.5 0.2 0.4"


def make_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_data(root, yaml="names: [cat, dog]\ntrain: images/train\nval: images/val\n", label=f"{SQUARE}\n{BOX}\n"):
    """Two training images, the second without a label file, and one validation image."""
    for name in ("train/a", "train/b", "val/c"):
        make_image(root / f"images/{name}.png")
    write(root / "labels/train/a.txt", label)
    write(root / "labels/val/c.txt", f"{BOX}\n\n")
    write(root / "data.yaml", yaml)
    return root


def open_yolo(data, **arguments):
    return build_dataset({"format": "yolo", "data": str(data), **arguments})


def test_polygons_and_boxes_in_pixels(tmp_path):
    data = open_yolo(make_data(tmp_path))
    assert (data.classes, data.category_ids, len(data)) == (["cat", "dog"], [0, 1], 2)
    sample = data.load(0)
    square = InstanceMasks.from_polygons([[[15, 10, 30, 10, 30, 20, 15, 20]]], (H, W))
    assert torch.equal(sample.targets.masks[0].to_dense(), square.to_dense())
    assert torch.allclose(sample.targets.boxes, torch.tensor([[15.0, 10, 30, 20], [24, 12, 36, 28]]))
    assert sample.targets.has_mask.tolist() == [True, False] and sample.file_name == "images/train/a.png"
    assert len(data.load(1).targets) == 0
    assert data.label_counts(0) == {0: 1, 1: 1} and data.unmasked_counts().tolist() == [1, 0]
    assert "images/train/b.png" in data.notes()[0]
    assert open_yolo(tmp_path, split="val").load(0).targets.labels.tolist() == [1]


@pytest.mark.parametrize(
    "yaml",
    [
        "names: {0: cat, 1: dog}\npath: {root}\ntrain: images/train\n",
        "names: {{'0': cat, '1': dog}}\npath: ../elsewhere\ntrain: ../images/train\nnc: 2\n",
        "names: [cat, dog]\ntrain: {root}/images/train\n",
        "names: [cat, dog]\ntrain: [images/train]\n",
        "names: [cat, dog]\ntrain: train.txt\n",
        "nc: 2\ntrain: .\\images\\train\nval:\n",
        "names: [cat, dog]\npath: data\ntrain: images/train\n",
    ],
)
def test_spellings_of_paths(tmp_path, yaml):
    root = make_data(tmp_path / "data")
    write(root / "train.txt", f"./images/train/a.png\n{root}/images/train/b.png\n")
    write(root / "data.yaml", yaml.replace("{root}", str(root)).replace("{{", "{").replace("}}", "}"))
    data = open_yolo(root / "data.yaml")
    assert [len(data.targets(i)) for i in range(2)] == [2, 0] and len(data.classes) == 2


def test_a_folder_of_each_split(tmp_path):
    """Roboflow's folders: train/images beside train/labels, named as ../train/images."""
    make_image(tmp_path / "train/images/a.png")
    write(tmp_path / "train/labels/a.txt", BOX)
    write(tmp_path / "data.yaml", "names: [a, b]\ntrain: ../train/images\n")
    assert len(open_yolo(tmp_path).targets(0)) == 1
    (tmp_path / "data.yaml").unlink()
    write(tmp_path / "classes.txt", "a\nb\n")
    assert open_yolo(tmp_path).classes == ["a", "b"] and open_yolo(tmp_path).split == "train"


def test_a_folder_without_yaml(tmp_path):
    make_image(tmp_path / "images/a.png")
    write(tmp_path / "labels/a.txt", BOX)
    with pytest.raises(SegkitError, match=r"classes\.txt"):
        open_yolo(tmp_path)
    assert open_yolo(tmp_path, classes=["x", "y"]).targets(0).labels.tolist() == [1]
    write(tmp_path / "labels/classes.txt", "cat\ndog\n")
    assert open_yolo(tmp_path).classes == ["cat", "dog"] and open_yolo(tmp_path).notes() == []


def test_labels_beside_images(tmp_path):
    make_image(tmp_path / "a.png")
    write(tmp_path / "a.txt", BOX)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    assert len(open_yolo(tmp_path).targets(0)) == 1


def test_what_is_no_object_is_counted(tmp_path):
    lines = ["0 0.1 0.1", "0 0.1 0.1 0.2 nan", "0 30 20 15 20", "0 0.5 0.5 0 0.1", "0 0.5 0.5 0.1 0.1 0.9", SQUARE]
    data = open_yolo(make_data(tmp_path, label="\n".join(lines)))
    total, lost = data.lost_objects()
    assert total == 6 and len(data.targets(0)) == 2
    assert [(one.count, one.examples) for one in lost] == [(1, (f"labels/train/a.txt:{i}",)) for i in (1, 2, 3, 4)]
    assert [one.mistake for one in lost] == [False, True, True, False]
    assert any("score" in note for note in data.notes())


@pytest.mark.parametrize(
    ("label", "facts"),
    [
        ("\n2 0.5 0.5 0.2 0.2", ["labels/train/a.txt:2", "2", "0 to 1"]),
        ("-1 0.5 0.5 0.2 0.2", ["a.txt:1", "-1"]),
        ("0.5 0.5 0.5 0.2 0.2", ["a.txt:1", "0.5"]),
        ("0 0.5 x 0.2 0.2", ["a.txt:1", "'x'"]),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.9", ["a.txt:1", "7 coordinates", "score"]),
    ],
)
def test_wrong_lines(tmp_path, label, facts):
    with pytest.raises(SegkitError) as error:
        open_yolo(make_data(tmp_path, label=label))
    assert all(fact in str(error.value) for fact in facts)


@pytest.mark.parametrize(
    ("yaml", "facts"),
    [
        ("train: images/train\n", ["names"]),
        ("names: [a]\nnc: 2\ntrain: images/train\n", ["nc", "2"]),
        ("names: [a, b]\ntrain: images/trian\n", ["train", "images/trian", "images"]),
        ("names: [a, b]\n", ["train"]),
        ("names: [a, b]\nkpt_shape: [17, 3]\ntrain: images/train\n", ["kpt_shape"]),
        ("names: [a, b]\ntrain: list.txt\n", ["list.txt:1", "leads out"]),
        ("names: [a, b]\ntrain: gone.txt\n", ["1 of the 2 images", "images/train/x.png"]),
        ("names: [a, b\n", ["data.yaml", "YAML"]),
    ],
)
def test_wrong_data_files(tmp_path, yaml, facts):
    write(tmp_path / "list.txt", "../../secret.png\n")
    write(tmp_path / "gone.txt", "images/train/a.png\nimages/train/x.png\n")
    with pytest.raises(SegkitError) as error:
        open_yolo(make_data(tmp_path, yaml))
    assert all(fact in str(error.value) for fact in facts)


def test_splits_and_classes_that_do_not_exist(tmp_path):
    make_data(tmp_path)
    with pytest.raises(SegkitError, match="did you mean 'val'"):
        open_yolo(tmp_path, split="vall")
    with pytest.raises(SegkitError, match="'dog'"):
        open_yolo(tmp_path, classes=["cat"])
    data = open_yolo(tmp_path, classes=["dog", "cat", "cow"])
    assert data.category_ids == [1, 0, 2] and data.targets(0).labels.tolist() == [1, 0]


def test_recognition(tmp_path):
    found = recognize(make_data(tmp_path / "a"))
    assert found.spec["format"] == "yolo" and found.spec["split"] == "train" and set(found.splits) == {"train", "val"}
    assert len(build_dataset(found.splits["val"])) == 1
    assert recognize(tmp_path / "a/data.yaml").spec["format"] == "yolo"
    make_image(tmp_path / "b/images/a.png")
    write(tmp_path / "b/labels/a.txt", BOX)
    write(tmp_path / "b/classes.txt", "cat\ndog\n")
    found = recognize(tmp_path / "b")
    assert found.spec["format"] == "yolo" and not found.splits
    (tmp_path / "b/labels/a.txt").write_text("some words")
    with pytest.raises(SegkitError, match="no data format"):
        recognize(tmp_path / "b")


def test_opening_decodes_no_pixels(tmp_path):
    make_data(tmp_path)
    path = tmp_path / "images/train/a.png"
    path.write_bytes(path.read_bytes()[:60])  # the header alone
    data = open_yolo(tmp_path)
    assert data.size(0) == (H, W) and len(data.targets(0)) == 2
    with pytest.raises(SegkitError, match=r"a\.png"):
        data.load(0)


def test_equal_to_hotcoco_where_it_reads_rightly(tmp_path):
    """hotcoco knows one folder of labels and boxes only; there both read the same boxes."""
    hotcoco = pytest.importorskip("hotcoco")
    rng = np.random.default_rng(0)
    make_image(tmp_path / "images/a.png")
    rows = [(k % 2, *rng.uniform(0.3, 0.6, 2), *rng.uniform(0.05, 0.3, 2)) for k in range(20)]
    write(tmp_path / "labels/a.txt", "\n".join(" ".join(map(str, row)) for row in rows))
    write(tmp_path / "labels/data.yaml", "names: [cat, dog]\n")
    write(tmp_path / "data.yaml", "names: [cat, dog]\ntrain: images\n")
    other = hotcoco.COCO.from_yolo(str(tmp_path / "labels"), str(tmp_path / "images"))
    xywh = torch.tensor([a["bbox"] for a in other.dataset["annotations"]])
    targets = open_yolo(tmp_path).targets(0)
    assert torch.allclose(targets.boxes, torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1).float(), atol=1e-4)
    assert [a["category_id"] - 1 for a in other.dataset["annotations"]] == targets.labels.tolist()
