"""A model, data and an evaluator so small that a run takes milliseconds."""

import json
from dataclasses import dataclass, replace

import torch
from torch import nn

from segkit.engine.hooks import build_default_hooks
from segkit.engine.hooks.logging import CurvesWriter, TensorBoardWriter, Writers
from segkit.engine.trainer import Trainer
from segkit.evaluation import Evaluator
from segkit.solver.schedules import Cosine


@dataclass
class FakeBatch:
    images: torch.Tensor
    targets: torch.Tensor
    sizes: tuple = ((1, 1),)
    annotations: tuple = (None,)
    file_names = ("fake.png",)  # no field: some tests make it a property

    def to(self, device, non_blocking=False):
        return replace(self, images=self.images.to(device), targets=self.targets.to(device))

    @property
    def output_sizes(self):
        return self.sizes

    def map_to_file(self, detections):
        return detections


class FakeLoader:
    """Batch i is a function of i."""

    def __init__(self, start_iteration=0):
        self.start_iteration = start_iteration

    def __iter__(self):
        i = self.start_iteration
        while True:
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(i))
            yield FakeBatch(x, x.sum(1, keepdim=True))
            i += 1


class FakeModel(nn.Module):
    """Dropout draws from the global generator, ``noise`` from the one that is passed."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.calls = self.predictions = 0

    def losses(self, images, targets, generator):
        self.calls += 1
        noise = torch.rand(images.shape, generator=generator, device=images.device)
        error = (self.layers(images + 0.1 * noise) - targets).float()
        size = self.layers[0].weight.square().mean()
        return {"fit": error.square().mean(), "size": 0.01 * size}

    def predict(self, images, sizes=None):
        self.predictions += 1
        return [self.layers(images)]


class FakeEvaluator(Evaluator):
    """``segm/AP`` is how close the model is."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.errors = []

    def process(self, batch, detections):
        self.errors.append((detections[0] - batch.targets).square().mean())

    def evaluate(self):
        return {"segm/AP": 1 / (1 + torch.stack(self.errors).mean().item()), "segm/AP-cell": 0.5}


VAL = [next(iter(FakeLoader(1000)))]


def make_trainer(folder, *, iterations=12, state=None, extra=(), all_writers=False, model=None, **settings):
    """A trainer with the default hooks, evaluating every 4 iterations, saving every 5, writing every 3."""
    from segkit.engine.train_state import restore

    hook_settings = {
        "log_period": 3, "checkpoint_period": 5, "eval_period": 4, "val_loader": VAL, "evaluators": [FakeEvaluator()],
        "classes": ["cell"], "resume_command": "python tools/train_net.py --resume",
    }  # fmt: skip
    own = {"best_metric", "best_min_gain", "early_stopping", "keep_checkpoints", "keep_every"}
    for key in {*hook_settings, *own} & settings.keys():
        hook_settings[key] = settings.pop(key)
    hooks = build_default_hooks(extra=extra, **hook_settings)
    if not all_writers:  # TensorBoard and matplotlib take longer than all else together
        for hook in hooks:
            if isinstance(hook, Writers):
                hook.writers = [w for w in hook.writers if not isinstance(w, (TensorBoardWriter, CurvesWriter))]
    model = model or FakeModel()
    trainer = Trainer(
        model,
        torch.optim.AdamW(model.parameters(), lr=0.05),
        Cosine(end_lr=1e-3, step="epoch", warmup_iterations=3),
        FakeLoader((state["iteration"] if state else 0) * settings.get("accumulate", 1)),
        max_iterations=iterations,
        iterations_per_epoch=4,
        output_dir=folder,
        clip_norm=settings.pop("clip_norm", 1.0),
        seed=7,
        hooks=hooks,
        about={"config": {"a": [1, "x"]}, "classes": ["cell"], "category_ids": [1]},
        **settings,
    )
    if state is not None:
        restore(trainer, state)
    return trainer


TIMES = {"data_time", "step_time", "eta_seconds", "memory_mb"}


def lines(folder):
    """metrics.json without what differs from run to run."""
    records = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key not in TIMES} for record in records]
