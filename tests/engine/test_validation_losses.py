"""Validation losses in a run: where they are written, and that measuring them leaves the training as it was."""

import json
from dataclasses import replace

import pytest
import torch
from fakes import FakeModel, lines, make_trainer

from segkit.config import load_config
from segkit.engine.build import build_trainer, prepare_model
from segkit.engine.datasets import build_data
from segkit.engine.hooks.evaluation import choose_metric
from segkit.utils.errors import SegkitError

SMALL = [
    "data.train={format: synthetic, num_images: 4, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 0}",
    "data.val={format: synthetic, num_images: 2, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 9}",
    "data.num_workers=0", "data.batch_size=2", "model.neck.out_channels=16", "train.iterations=2",
    "model.roi_heads.box_head.fc_dims=[32]", "model.roi_heads.mask_head.conv_dims=[16]", "train.checkpoint_period=0",
    "train.log_period=1", "train.device=cpu",
]  # fmt: skip
BACKBONES = {
    "batch norms": "{name: TinyNet, width: 8}",
    "drop path": "{name: ConvNeXt, arch: atto, drop_path: 0.5, layer_scale: 1.0}",
}


def run(folder, *overrides):
    cfg = load_config("segkit://quickstart.yaml", [*SMALL, f"output_dir={folder}", *overrides])
    folder.mkdir()
    torch.manual_seed(0)
    data = build_data(cfg)
    device = torch.device("cpu")
    cfg = cfg.with_values({"data.classes": data.classes})
    trainer = build_trainer(cfg, prepare_model(cfg, data, device), data, device)
    trainer.hooks = [hook for hook in trainer.hooks if "Checkpoint" not in type(hook).__name__]  # takes long
    for hook in trainer.hooks:
        if hasattr(hook, "writers"):
            hook.writers = [w for w in hook.writers if type(w).__name__ == "JsonWriter"]
    trainer.train()
    return trainer, [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_evaluation_period_does_not_change_the_training(tmp_path, backbone):
    runs = {
        period: run(tmp_path / str(period), f"model.backbone={BACKBONES[backbone]}", f"train.eval_period={period}")
        for period in (1, 0)
    }
    often, once = (
        [{key: value for key, value in line.items() if key.startswith("loss/")} for line in records]
        for _, records in runs.values()
    )
    assert often == once and len(often) == 2 and len(often[0]) == 6
    weights = [trainer.model.state_dict() for trainer, _ in runs.values()]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    lines_with = [["val/loss/mask" in line for line in records] for _, records in runs.values()]
    assert lines_with == [[True, True], [False, True]]
    last = runs[1][1][-1]
    assert last["val/loss/total"] == pytest.approx(
        sum(last[f"val/loss/{name}"] for name in ("rpn_cls", "rpn_box", "cls", "box", "mask"))
    )
    assert runs[1][0].evaluation["val/loss/total"] == runs[0][0].evaluation["val/loss/total"] == last["val/loss/total"]


def test_they_can_be_switched_off(tmp_path):
    _, records = run(tmp_path / "off", "train.eval_losses=false", "train.iterations=1")
    assert not any(key.startswith("val/") for key in records[-1]) and "segm/AP" in records[-1]


class Measured(FakeModel):
    """Its validation loss rises from the second evaluation on."""

    evaluations = 0

    def predict_with_losses(self, images, targets, generator=None, output_sizes=None):
        self.evaluations += 1
        loss = torch.tensor([3.0, 1.0, 2.0][self.evaluations - 1])
        return self.predict(images, output_sizes), {"fit": loss}


def test_the_best_model_by_loss_is_that_of_the_lowest(tmp_path):
    from fakes import VAL

    from segkit.engine.checkpoint import read_checkpoint

    with_ground_truth = replace(VAL[0], annotations=([],))
    make_trainer(tmp_path, model=Measured(), best_metric="val/loss/total", val_loader=[with_ground_truth]).train()
    assert [line["val/loss/fit"] for line in lines(tmp_path) if "val/loss/fit" in line] == [3, 1, 2]
    assert read_checkpoint(tmp_path / "model_best.pth")["iteration"] == 8


def test_the_best_metric_is_checked_before_the_training():
    from segkit.evaluation import CocoEvaluator

    evaluators = [CocoEvaluator(["cell"], [1], 100)]
    assert choose_metric("val/loss/total", evaluators) == "val/loss/total"
    with pytest.raises(SegkitError, match=r"return no 'val/loss/total'"):
        choose_metric("val/loss/total", evaluators, losses=False)
