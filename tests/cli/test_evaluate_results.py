"""``segkit eval RESULTS --data DATA``: metrics of a results file without a model."""

import json

import pytest
import torch

from segkit.cli.main import main
from segkit.data.formats import Synthetic
from segkit.data.writers import WritableImage
from segkit.evaluation import coco_results
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A data set of two splits, and a results file of the second: one object of each image is not found."""
    folder = tmp_path_factory.mktemp("results")
    data = Synthetic(num_images=4, image_size=(64, 64), seed=0, min_objects=3, max_objects=4, max_size=20)
    runtime = {"output": folder / "data", "classes": data.classes, "category_ids": data.category_ids}
    (folder / "data").mkdir()
    results = []
    with DATASET_WRITER_REGISTRY.build({"format": "coco"}, **runtime) as writer:
        for i in range(len(data)):
            sample = data.load(i)
            split = "train" if i < 2 else "val"
            writer.write(WritableImage(f"{i}.png", i + 1, sample.size, sample.targets, split, sample=sample))
            if split == "val":
                targets = sample.targets[torch.arange(1, len(sample.targets))]
                found = Detections.from_masks(targets.masks, torch.full((len(targets),), 0.9), targets.labels)
                results += coco_results(found, i + 1, data.category_ids)
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def run(folder, *words):
    return main(["eval", str(folder / "results.json"), "--data", str(folder / "data"), *words])


def test_metrics_of_the_validation_split(files, capsys):
    assert run(files) == 0
    printed = capsys.readouterr().out
    assert "segm" in printed and "bbox" in printed and "AP50" in printed
    cells = "evaluators=[{name: Cells, iou_thresholds: [0.5]}]"
    assert main(["evaluate", str(files / "results.json"), "--data", str(files / "data"), cells]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    first = next(i for i, line in enumerate(table) if line[:1] == ["AP@0.5"])
    columns = dict(zip(table[first], table[first + 2][1:], strict=True))
    found = len(json.loads((files / "results.json").read_text()))
    assert columns["precision"] == "100.00"
    assert columns["recall"] == f"{100 * found / (found + 2):.2f}"  # one of each of two images is missing


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["--split", "vall"], ["no split 'vall'", "val"]),
        (["--split", "train"], ["image id", "data set"]),
        (["evaluator=[]"], ["evaluators"]),
        (["evaluators=[{name: Cell}]"], ["Cell", "Cells"]),
    ],
)
def test_mistakes(files, words, facts):
    with pytest.raises(SegkitError) as error:
        run(files, *words)
    assert all(fact in str(error.value) for fact in facts), str(error.value)


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ("{", ["no JSON"]),
        ("{}", ["list of COCO results", "dict"]),
        ('[{"image_id": 1, "category_id": 1, "scores": 1}]', ["results[0]", "score", "scores"]),
        ("[3]", ["results[0]", "int"]),
    ],
)
def test_broken_results_files(files, tmp_path, content, facts):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(SegkitError) as error:
        main(["eval", str(path), "--data", str(files / "data")])
    assert all(fact in str(error.value) for fact in [str(path), *facts]), str(error.value)


@pytest.mark.parametrize(
    "words", [["--split", "val"], ["--data", "x"], ["--data", "x", "--weights", "w.pth", "r.json"]]
)
def test_wrong_command_lines(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(["eval", *words])
    assert end.value.code == 2
    assert "--data" in capsys.readouterr().err
