"""The model of a run on one split of its data: predictions, and losses of objects over checkpoints."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from segkit.config import load_config
from segkit.dataset_tools.label_errors import label_errors
from segkit.engine.checkpoint import save_checkpoint
from segkit.engine.object_losses import PositionedObjects, measure_object_losses
from segkit.engine.run_split import best_checkpoint, kept_checkpoints, open_run_split
from segkit.evaluation import evaluate_predictions
from segkit.evaluation.overlap_evaluator import OverlapEvaluator
from segkit.modeling.object_losses import object_losses
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.errors import SegkitError

DATA = "{{format: synthetic, num_images: {}, image_size: [64, 64], min_objects: 2, max_objects: 4, max_size: 30, seed: {}}}"
OVERRIDES = [
    f"data.train={DATA.format(3, 0)}",
    f"data.val={DATA.format(2, 9)}",
    "data.num_workers=0",
    "model.neck.out_channels=16",
    "model.roi_heads.score_threshold=0.0",
    "train.device=cpu",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run's folder with two checkpoints of untrained models."""
    path = tmp_path_factory.mktemp("runs") / "run"
    path.mkdir()
    cfg = load_config("segkit://quickstart.yaml", [*OVERRIDES, f"output_dir={path}"])
    (path / "config.yaml").write_text(cfg.to_yaml(), encoding="utf-8")
    for seed, name in enumerate(("model_0000010.pth", "model_final.pth")):
        torch.manual_seed(seed)
        split = open_run_split(path)
        state = {"model": split.model.state_dict(), "iteration": 10 * seed, "config": cfg.to_dict()}
        state |= {"classes": list(split.dataset.classes), "category_ids": list(split.dataset.category_ids)}
        save_checkpoint(path / name, state)
    return path


def test_losses_of_both_splits_equal_those_of_the_model(folder):
    for split, images in (("train", 3), ("val", 2)):
        run = open_run_split(folder, split)
        assert len(run.dataset) == images
        checkpoints = kept_checkpoints(folder)
        assert [path.name for path in checkpoints] == ["model_0000010.pth", "model_final.pth"]
        losses, unknown = measure_object_losses(run, checkpoints)
        assert unknown == 0 and list(losses) == list(run.dataset.image_ids)
        batches = list(run.loader())  # without the transforms of the training
        for k, checkpoint in enumerate(checkpoints):
            run.load(checkpoint)
            run.model.eval()
            for batch in batches:
                for image_id, one in zip(
                    batch.image_ids, object_losses(run.model, batch.images, batch.targets), strict=True
                ):
                    np.testing.assert_allclose(losses[image_id][k], one.total.numpy(), rtol=1e-5)
        assert not np.allclose(*next(iter(losses.values())))  # the checkpoints differ


def test_predictions_are_streamed_and_equal_to_an_evaluation(folder, tmp_path):
    run = open_run_split(folder, "train")
    found = run.predict(best_checkpoint(folder), tmp_path / "lines")
    assert sorted(found.results) == [1, 2, 3] and len(found.results[2]) > 0
    assert found.has_masks and found.max_detections >= 100
    listed = [one for image in found.results.values() for one in image]
    evaluator = _Overlaps(run.dataset.classes, found.overlaps().max_detections)
    evaluate_predictions(listed, run.dataset, [evaluator])
    for one, other in zip(found.overlaps().images, evaluator.data.images, strict=True):
        assert one.scores.tolist() == pytest.approx(other.scores.tolist())
        assert one.overlaps.ious.tolist() == other.overlaps.ious.tolist()
    assert json.loads((tmp_path / "lines").read_text().splitlines()[0]) == found.results[1]


class _Overlaps(OverlapEvaluator):
    def metrics(self, data):
        return {}


def test_positions_survive_transforms_and_dropped_objects(folder):
    """Regions keep their label; objects that reading drops leave gaps in the positions."""
    dataset = open_run_split(folder).dataset
    sample = dataset.load(0)
    positioned = PositionedObjects(dataset)
    targets, positions = positioned.split(positioned.load(0).targets)
    assert torch.equal(targets.labels, sample.targets.labels) and positions.tolist() == list(range(len(targets)))

    dense = torch.zeros(4, 20, 20, dtype=torch.bool)
    dense[[0, 2, 3], 4:9, 4:9] = True
    masks = InstanceMasks.from_dense(dense)
    everything = Targets(masks.boxes().float(), torch.tensor([1, 0, ALL_CLASSES, 2]), masks, torch.arange(4) == 2)
    kept = everything[torch.tensor([0, 2, 3])]

    class Dropping(type(dataset)):
        def load(self, index):
            return dataclasses.replace(sample, targets=kept, dropped=1, size=(20, 20))

        def all_targets(self, index):
            return everything

        def ground_truth(self, index, sample):
            return [{}] * 4

    dropping = Dropping(num_images=1, image_size=(64, 64))
    positioned = PositionedObjects(dropping)
    loaded = positioned.open(0)
    targets, positions = positioned.split(loaded.targets)
    assert positions.tolist() == [0, 2, 3] and torch.equal(targets.labels, kept.labels)
    assert len(positioned.ground_truth(0, loaded)) == 4


def test_the_command_on_the_training_images(folder, tmp_path):
    report = label_errors([str(folder)], str(tmp_path / "x"), split="train", min_score=0.0, top=8)
    assert report.errors and any("model_0000010.pth, model_final.pth" in note for note in report.notes)
    assert "train images" in (tmp_path / "x" / "index.html").read_text(encoding="utf-8")
    again = label_errors([str(folder)] * 2, str(tmp_path / "y"), losses=False, min_score=0.0, top=4)
    assert not any("losses" in note for note in again.notes) and len(again.notes) == 2


def test_mistakes(folder, tmp_path):
    with pytest.raises(SegkitError, match="did you mean 'train'"):
        open_run_split(folder, "trian")
    with pytest.raises(SegkitError, match=r"no config\.yaml"):
        open_run_split(tmp_path)
    with pytest.raises(SegkitError, match="has no checkpoint"):
        kept_checkpoints(tmp_path)
    with pytest.raises(SegkitError, match=r"missing\.pth"):
        label_errors([str(folder)], str(tmp_path / "z"), weights=[str(tmp_path / "missing.pth")])
    assert not (tmp_path / "z").exists()
