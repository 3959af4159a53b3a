"""``segkit eval RESULTS --data DATA``: metrics of a results file without a model."""

import json

import pytest
import torch

from segkit.cli.main import main
from segkit.data.formats import Synthetic
from segkit.data.writers import WritableImage
from segkit.dataset_tools.evaluate_results import evaluate_results
from segkit.dataset_tools.source import open_data
from segkit.evaluation import coco_results
from segkit.evaluation.predictions import as_detections, evaluate_predictions
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
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


def test_the_folder_of_a_run_stands_for_its_data(tmp_path):
    (tmp_path / "config.yaml").write_text("_BASE_: segkit://quickstart.yaml\n")
    (tmp_path / "metrics.json").touch()
    assert list(open_data(str(tmp_path)).splits) == ["train", "val"]


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
        (
            '{"annotations": [{"image_id": 1, "category_id": 1, "iscrowd": 0}]}',
            ["annotations[0]", "score", "ground truth"],
        ),
        ('{"annotations": [], "images": [{"id": 1}, {"id": 1}]}', ["images", "id 1", "2 times"]),
        ('{"annotations": [], "images": [{"file_name": "a"}]}', ["images[0]", "no id"]),
        ('{"annotations": [], "images": [{"id": 1, "file_name": "x.png"}]}', ["'x.png'", "none of its 1 images"]),
        ('{"annotations": [], "categories": [{"id": 1, "name": "squares"}]}', ["squares", "no class"]),
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


def changed(change, **more):
    """A change of the third result."""

    def apply(results):
        results[2] = {**results[2], **change, **more}

    return apply


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (changed({"score": float("nan")}), ["score nan"]),
        (changed({"score": "0.5"}), ["score '0.5'"]),
        (changed({"category_id": 77}), ["category_id 77"]),
        (changed({"category_id": True}), ["category_id True"]),
        (changed({"image_id": "3"}), ["image id '3'", "str"]),
        (changed({"image_id": [3]}), ["image id [3]", "list"]),
        (changed({"bbox": [1, 2, 3]}), ["bbox", "width, height"]),
        (changed({"bbox": [1, 2, -3, 4]}), ["bbox", "width, height"]),
        (changed({"bbox": [900, 2, 3, 4]}), ["outside", "64 x 64"]),
        (changed({"segmentation": [[1, 1, 5, 1, 5, 5]]}), ["polygons", "RLE"]),
        (changed({"segmentation": {"size": [64, 64], "counts": "0~"}}), ["not a compressed RLE"]),
        (changed({"segmentation": {"size": [64, 64], "counts": "04"}}), ["add up to 4 pixels"]),
        (changed({"segmentation": {"size": [32, 64], "counts": [2048]}}), ["size [32, 64]"]),
        (changed({"segmentation": {"size": 64, "counts": [4096]}}), ["size 64"]),
        (changed({"segmentation": {"size": [64, 64], "counts": [4096.5]}}), ["whole numbers"]),
        (lambda results: results.insert(2, dict(results[0])), ["repeats results[0]"]),
    ],
)
def test_the_position_of_what_is_wrong(files, tmp_path, change, facts):
    results = json.loads((files / "results.json").read_text())
    change(results)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(results))
    with pytest.raises(SegkitError) as error:
        main(["eval", str(path), "--data", str(files / "data")])
    assert all(fact in str(error.value) for fact in ["results[2]", *facts]), str(error.value)


def predictions(files, names=("2.png", "3.png")):
    """The results as segkit predict writes them, with ids and an order of categories of their own."""
    data = Synthetic(num_images=1, image_size=(64, 64), seed=0)
    results = json.loads((files / "results.json").read_text())
    ids = {category_id: 50 - category_id for category_id in data.category_ids}
    return {
        "images": [{"id": 70 + i, "file_name": f"some/folder/{name}"} for i, name in enumerate(names)],
        "categories": [{"id": ids[k], "name": name} for k, name in zip(data.category_ids, data.classes, strict=True)],
        "annotations": [
            {**one, "id": i, "iscrowd": 0, "image_id": one["image_id"] + 67, "category_id": ids[one["category_id"]]}
            for i, one in enumerate(results)
        ],
    }


def test_predictions_are_matched_by_names(files, tmp_path, caplog):
    expected, _ = evaluate_results(str(files / "results.json"), str(files / "data"))
    data = open_data(str(files / "data")).splits["val"]
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(predictions(files)))
    assert evaluate_results(str(path), str(files / "data"))[0] == expected
    assert "without detections" not in caplog.text
    content = predictions(files)
    content["images"].pop()
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] == 70]
    path.write_text(json.dumps(content))
    assert evaluate_results(str(path), str(files / "data"))[0]["segm/AR"] < expected["segm/AR"]
    assert "1 of the 2 images" in caplog.text and "3.png" in caplog.text
    path.write_text(json.dumps(predictions(files, ("2.png", "4.png"))))
    some, _ = evaluate_results(str(path), str(files / "data"))
    assert some == evaluate_results(str(path), str(files / "data"))[0] and some["segm/AR"] < expected["segm/AR"]
    assert "1 of the 2 images" in caplog.text and "skipped: some/folder/4.png" in caplog.text
    content = predictions(files, ("4.png", "3.png"))  # the results of the second image come after those of the first
    last = len(content["annotations"]) - 1
    content["annotations"][last]["score"] = None
    path.write_text(json.dumps(content))
    for evaluated in (
        lambda: evaluate_results(str(path), str(files / "data")),
        lambda: evaluate_predictions(path, data),
    ):
        with pytest.raises(SegkitError, match=rf"results\[{last}\] has the score None"):
            evaluated()
    path.write_text(json.dumps(predictions(files, ("2.png", "2.png"))))
    with pytest.raises(SegkitError, match="same image"):
        evaluate_results(str(path), str(files / "data"))
    content["annotations"][0]["image_id"] = 5
    path.write_text(json.dumps(content))
    with pytest.raises(SegkitError, match=r"annotations\[0\].*id 5 in 'images'"):
        evaluate_results(str(path), str(files / "data"))


def test_evaluators_of_a_configuration(files, tmp_path, caplog):
    config = tmp_path / "mine.yaml"
    text = f"_BASE_: segkit://quickstart.yaml\ndata:\n  train: {files / 'data'}\n"
    config.write_text(f"{text}evaluators: [{{name: Panoptic}}, {{name: COCO, score_thresholds: [0.95]}}]\n")
    metrics, _ = evaluate_results(str(files / "results.json"), str(config))
    assert metrics["panoptic/SQ"] == pytest.approx(1) and metrics["segm/AP50@score0.95"] == 0
    chosen, _ = evaluate_results(str(files / "results.json"), str(config), evaluators=[{"name": "Boundary"}])
    assert chosen["boundary/IoU"] == pytest.approx(1) and "panoptic/PQ" not in chosen
    results = json.loads((files / "results.json").read_text())
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([{**one, "segmentation": None} for one in results]))
    metrics, _ = evaluate_results(str(boxes), str(config))
    assert "bbox/AP" in metrics and "panoptic/PQ" not in metrics and "no masks" in caplog.text
    config.write_text(f"{text}evaluators: [{{name: COCO, iou_types: [bbox], score_thresholds: [0.5]}}]\n")
    metrics, _ = evaluate_results(str(boxes), str(config))  # evaluators that need none stay
    assert metrics["bbox/AP50@score0.5"] == metrics["bbox/AP50"]


def test_rles_are_not_decoded(files, monkeypatch):
    expected, _ = evaluate_results(str(files / "results.json"), str(files / "data"))
    monkeypatch.setattr(InstanceMasks, "to_rle", lambda masks: [{"size": [64, 64], "counts": "P`1"}] * len(masks))
    content = json.loads((files / "results.json").read_text())
    data = Synthetic(num_images=4, image_size=(64, 64), seed=0, min_objects=3, max_objects=4, max_size=20)
    found = as_detections([one for one in content if one["image_id"] == 3], (64, 64), data.category_ids)
    assert found.to_rle() == [one["segmentation"] for one in content if one["image_id"] == 3]
    assert expected["segm/AP"] > 0.5


def test_submissions_are_checked(files, tmp_path, capsys):
    ids = tmp_path / "ids.json"
    entries = [{"file_name": f"{i}.png", "id": i + 1, "height": 64, "width": 64} for i in (2, 3, 7)]
    ids.write_text(json.dumps(entries))
    assert main(["eval", str(files / "results.json"), "--id-map", str(ids)]) == 0
    printed = capsys.readouterr().out
    assert "in 2 of 3 images" in printed and "7.png" in printed and "lowest score 0.9" in printed
    with pytest.raises(SegkitError, match="category_id"):
        main(["eval", str(files / "results.json"), "--id-map", str(ids), "--category-ids", "400"])
    with pytest.raises(SegkitError, match="--category-ids"):
        main(["eval", str(files / "results.json"), "--id-map", str(ids), "--category-ids", "1;2"])
    ids.write_text(json.dumps({"images": entries, "categories": [{"id": 9, "name": "x"}]}))
    with pytest.raises(SegkitError, match=r"category_id .* are 9"):
        main(["eval", str(files / "results.json"), "--id-map", str(ids)])


@pytest.mark.parametrize(
    "words",
    [
        ["r.json", "--id-map", "ids.json", "--data", "x"],
        ["--id-map", "ids.json"],
        ["r.json", "--id-map", "ids.json", "evaluators=[]"],
        ["r.json", "--data", "x", "--category-ids", "1"],
    ],
)
def test_wrong_command_lines_of_submissions(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(["eval", *words])
    assert end.value.code == 2 and "error" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--split", "val"], ["--data", "x"], ["--data", "x", "--weights", "w.pth", "r.json"]]
)
def test_wrong_command_lines(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(["eval", *words])
    assert end.value.code == 2
    assert "--data" in capsys.readouterr().err
