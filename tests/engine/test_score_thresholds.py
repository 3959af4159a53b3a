"""The best score thresholds of an evaluation: in the trainer, its checkpoints, and the pictures."""

import dataclasses
import logging
from types import SimpleNamespace

from fakes import FakeEvaluator, make_trainer

from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.pictures import draw_figures, remove_stale_curves, threshold_of_pictures
from segkit.evaluation import PrecisionRecall
from segkit.structures import ScoreThresholds

FIRST = ScoreThresholds(0.25, {"cell": 0.125}, "F1", 0.5, "segm")


class WithThresholds(FakeEvaluator):
    """The threshold says how many evaluations there were; the first one is the best."""

    count = 0

    def evaluate(self):
        self.count += 1
        return {"segm/AP": 1 / self.count}

    def best_thresholds(self):
        return dataclasses.replace(FIRST, overall=self.count / 8)


def thresholds(path):
    values = read_checkpoint(path)["score_thresholds"]
    return values and (values["overall"], values["iteration"])


def test_each_checkpoint_has_those_of_its_evaluation(tmp_path):
    trainer = make_trainer(tmp_path, iterations=10, eval_period=4, checkpoint_period=3, evaluators=[WithThresholds()])
    trainer.train()
    assert trainer.score_thresholds == dataclasses.replace(FIRST, overall=3 / 8, iteration=10)
    names = ("0000003", "best", "0000006", "0000009", "final")
    found = {name: thresholds(tmp_path / f"model_{name}.pth") for name in names}
    assert found["0000003"] is None
    assert found["best"] == found["0000006"] == (1 / 8, 4)  # the checkpoint after iteration 6 has trained on since then
    assert found["0000009"] == (2 / 8, 8) and found["final"] == (3 / 8, 10)


def test_they_are_resumed(tmp_path):
    settings = {"eval_period": 4, "checkpoint_period": 3, "iterations": 7}
    make_trainer(tmp_path / "whole", evaluators=[WithThresholds()], **settings).train()
    state = read_checkpoint(tmp_path / "whole" / "model_0000006.pth")
    again = make_trainer(tmp_path / "part", state=state, evaluators=[FakeEvaluator()], **settings)
    assert again.score_thresholds == dataclasses.replace(FIRST, overall=1 / 8, iteration=4)
    again.train()
    assert again.score_thresholds is None  # the last evaluation has none: no older ones of other weights stay
    del state["score_thresholds"]
    assert make_trainer(tmp_path / "old", state=state, **settings).score_thresholds is None


def test_the_first_evaluator_that_has_some(tmp_path):
    class Other(WithThresholds):
        def evaluate(self):
            return {"bbox/AP": 0.5}

        def best_thresholds(self):
            return dataclasses.replace(FIRST, iou_type="bbox")

    trainer = make_trainer(tmp_path, iterations=1, evaluators=[FakeEvaluator(), Other()])
    trainer.train()
    assert trainer.score_thresholds.iou_type == "bbox"


def test_of_pictures(caplog):
    model = SimpleNamespace(class_agnostic=False)
    assert threshold_of_pictures(0.3, None, model, ["cell"]) == 0.3
    assert threshold_of_pictures("best", FIRST, model, ["cell", "x"]).tolist() == [0.125, 0.25]
    assert threshold_of_pictures("best_overall", FIRST, model, ["cell"]) == 0.25
    with caplog.at_level(logging.WARNING):
        assert threshold_of_pictures("best", None, model, ["cell"]) == 0.5
    assert "no best score thresholds" in caplog.text


def test_figures_of_masks_and_boxes_have_folders_of_their_own(tmp_path, monkeypatch):
    import segkit.visualization.evaluation_figures as module

    monkeypatch.setattr(module, "draw_evaluation_figures", lambda content, folder: [(content["kind"], folder)])
    for name, kind in (("precision_recall", "segm"), ("precision_recall_bbox", "bbox")):
        (tmp_path / f"{name}.json").write_text(f'{{"kind": "{kind}"}}')
    assert draw_figures(tmp_path) == [("segm", tmp_path / "figures"), ("bbox", tmp_path / "figures" / "bbox")]


def test_curves_of_an_earlier_evaluation_are_removed(tmp_path):
    (tmp_path / "figures" / "bbox").mkdir(parents=True)
    files = ["precision_recall.json", "figures/f1.png", "precision_recall_bbox.json", "figures/bbox/f1.png"]
    for name in files:
        (tmp_path / name).write_text("{}")
    boxes = PrecisionRecall(["a"], 100, results_dir=str(tmp_path), iou_type="bbox")
    remove_stale_curves(tmp_path, [boxes])
    assert [(tmp_path / name).exists() for name in files] == [False, False, True, True]


def test_figures_of_a_broken_file_are_a_warning(tmp_path, caplog):
    assert draw_figures(tmp_path) == []
    (tmp_path / "precision_recall.json").write_text("{")
    assert draw_figures(tmp_path) == []
    assert "figures of the evaluation" in caplog.text
