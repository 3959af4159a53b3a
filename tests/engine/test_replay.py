"""The file with the batches of a step that was not finite, and its repetition."""

import itertools

import pytest
import torch
from test_nonfinite import SpoiltLoader, message, overflow
from test_validation_losses import SMALL

from segkit.config import load_config
from segkit.engine.build import build_trainer, prepare_model
from segkit.engine.datasets import build_data
from segkit.engine.replay import replay
from segkit.utils.errors import SegkitError


def test_the_batch_of_an_accumulated_step(tmp_path):
    class Second(SpoiltLoader):
        def __iter__(self):
            for i in itertools.count(self.start_iteration):
                yield from super().batches_at(i)

    text = message(tmp_path, loader=Second(6), accumulate=2)  # the second batch of step 3
    assert "in iteration 3 (images image5.png, image6.png). Image 0 of batch 2 of 2 holds" in text
    content = torch.load(tmp_path / "nonfinite_batch_0000003.pth", weights_only=True)
    assert [batch["file_names"] for batch in content["batches"]] == [["image5.png"], ["image6.png"]]
    assert content["step"] == 2 and content["seed"] == 7


def test_a_batch_that_cannot_be_written(tmp_path, caplog):
    def fail(*args):
        raise OSError("disk full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segkit.engine.replay.torch.save", fail)
        text = message(tmp_path, overflow)
    assert "in iteration 5" in text and "the batch is in" not in text
    assert "could not be written" in caplog.text and "disk full" in caplog.text


def test_the_file_repeats_the_loss(tmp_path):
    """A whole model on a drawn image: the run ends, and the file alone reproduces the NaN and names the layer."""
    cfg = load_config("segkit://quickstart.yaml", [*SMALL, f"output_dir={tmp_path}", "train.accumulate=2"])
    data = build_data(cfg)
    device = torch.device("cpu")
    cfg = cfg.with_values({"data.classes": data.classes})
    trainer = build_trainer(cfg, prepare_model(cfg, data, device), data, device)
    trainer.hooks, seen = [], []
    losses = trainer.batch_losses

    def spoilt(batch, step, part):
        if step == 1 and part == 0:
            with torch.no_grad():
                trainer.model.roi_heads.box_head.classifier.weight.fill_(3e38)
        found = losses(batch, step, part)
        if step == 1 and len(seen) < 2:
            seen.append({name: loss.item() for name, loss in found.items()})
        return found

    trainer.batch_losses = spoilt
    with pytest.raises(SegkitError, match=r"iteration 2 .*In batch 1 of 2: .*classifier.*nonfinite_batch_0000002.pth"):
        trainer.train()
    path = tmp_path / "nonfinite_batch_0000002.pth"
    found = replay(path, device="cpu")
    assert str(found) == str(seen) and "nan" in str(found[0])  # NaN equals nothing, but prints the same
    with pytest.raises(SegkitError, match=r"is not a nonfinite_batch file"):
        torch.save({"model": {}}, tmp_path / "other.pth")
        replay(tmp_path / "other.pth")
