"""Functions that the tests run in several processes."""

import os
import time

import torch
from fakes import VAL, FakeBatch, FakeEvaluator, FakeLoader, FakeModel, make_trainer
from process_runner import free_port

from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.hooks import Evaluation, Hook
from segkit.evaluation import evaluate
from segkit.modeling.layers.norm import make_norm
from segkit.utils import distributed
from segkit.utils.device import choose_device
from segkit.utils.errors import SegkitError


class Shares(FakeLoader):
    """Batches of 12 images, of which each process takes its share."""

    def __iter__(self):
        for batch in super().__iter__():
            mine = slice(distributed.rank(), None, distributed.world_size())
            images = torch.cat([batch.images, batch.images + 1, batch.images - 1])
            yield FakeBatch(images[mine], images.sum(1, keepdim=True)[mine])


class Plain(FakeModel):
    """Nothing random, nothing that looks across images; its loss is the mean over equally many images in each process.

    ``odd`` gets a gradient in the last process only, ``unused`` nowhere.
    """

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.odd = torch.nn.Parameter(torch.ones(2))
        self.unused = torch.nn.Parameter(torch.ones(2))

    def losses(self, images, targets, generator):
        error = (self.layers(images) - targets).square().mean()
        last = distributed.rank() == distributed.world_size() - 1
        return {"fit": error, "odd": self.odd.square().sum() if last else error * 0}


class Merging(FakeEvaluator):
    def results(self):
        return self.errors

    def merge(self, shares):
        self.errors = [error for share in shares for error in share]


def a_trainer(folder, *, model=None, state=None, val=True, evaluators=None, **settings):
    """make_trainer's, for several processes."""
    evaluators = evaluators or [Merging()]
    loader = VAL if distributed.is_main() else []
    trainer = make_trainer(
        folder, model=model, state=state, val_loader=loader if val else None, evaluators=evaluators, **settings
    )
    trainer.loader = Shares(trainer.loader.start_iteration)
    return trainer


def helpers():
    r, n = distributed.rank(), distributed.world_size()
    mean = distributed.mean(torch.arange(3.0) * r)
    copied = [torch.full((3,), r), torch.tensor(r == 0)]
    distributed.broadcast_tensors(copied)
    with distributed.leader_first():
        pass
    gathered = distributed.gather({"of": r})
    return n, distributed.sum_integers([1, r]), distributed.broadcast(f"from {r}"), gathered, mean, copied


def weights_after(folder, iterations, settings):
    trainer = a_trainer(folder, model=Plain(), val=False, iterations=iterations, clip_norm=None, **settings)
    trainer.train()
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def run_and_resume(folder, checkpoint):
    """Weights and evaluation of a run of 8 iterations: all of it, or from ``checkpoint`` on."""
    state = checkpoint and read_checkpoint(checkpoint)
    trainer = a_trainer(folder, iterations=8, state=state, all_writers=state is None, ema_decay=0.5)
    trainer.train()
    return dict(trainer.model.named_parameters()), trainer.evaluation


def ema_after(folder, iterations):
    """The EMA of a model that each process begins with other weights, and its evaluation."""
    model = Plain()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(distributed.rank())
    trainer = a_trainer(folder, model=model, iterations=iterations, ema_decay=0.9)
    trainer.train()
    return trainer.ema.model_state(), trainer.evaluation


def statistics_evaluated(folder):
    """The running statistics that each process has in the evaluation, after a step on images of its own."""
    trainer = a_trainer(folder, iterations=1)
    seen = []
    trainer.model.predict = lambda images, sizes=None: (
        seen.append(_copied(trainer.model)) or [trainer.model.layers(images)]
    )
    for hook in trainer.hooks:
        if isinstance(hook, Evaluation):
            hook.loader = VAL
    trainer.hooks.insert(0, KeepsStatistics())
    trainer.train()
    return trainer.hooks[0].seen, seen[0]


class KeepsStatistics(Hook):
    def after_step(self, trainer):
        self.seen = _copied(trainer.model)


def _copied(model):
    return [buffer.clone() for buffer in model.buffers()]


def synced():
    norm = make_norm("sync_bn", 2)
    distributed.barrier()  # else one ends before the other is connected
    assert norm.eval()(torch.zeros(2, 2, 1, 1)).sum() == 0
    norm.train()(torch.randn(2, 2, 3, 3))


def weights_on_gpu(folder, iterations, settings, device="cuda:0"):
    """Of a training on a GPU, which the processes share: gloo connects them."""
    model = Plain().to(device)
    trainer = a_trainer(
        folder, model=model, val=False, iterations=iterations, clip_norm=None, device=device, **settings
    )
    trainer.train()
    return {name: value.cpu() for name, value in trainer.model.state_dict().items()}


def weights_on_own_gpus(folder, iterations, settings):
    """Of a training of which each process has a GPU: NCCL connects them."""
    torch.distributed.destroy_process_group()
    device = choose_device("cuda")
    with distributed.process_group(device, 60):
        return weights_on_gpu(folder, iterations, settings, device)


def synced_on_gpu():
    """This process's share of a normalised batch of 4 images, its gradient, and the running mean."""
    x = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    share = x[2 * distributed.rank() :][:2].cuda().requires_grad_()
    norm = make_norm("sync_bn", 6).cuda()
    found = norm(share)
    found.pow(3).sum().backward()
    return found.detach().cpu(), share.grad.cpu(), norm.running_mean.cpu()


class BadOnce(Plain):
    def losses(self, images, targets, generator):
        self.calls += 1
        losses = super().losses(images, targets, generator)
        return {**losses, "fit": losses["fit"] * (float("nan") if self.calls == 3 and distributed.rank() == 1 else 1)}


def skip_one(folder):
    trainer = a_trainer(folder, model=BadOnce(), val=False, iterations=6, max_skipped=1)
    trainer.train()
    return trainer.skipped, dict(trainer.model.named_parameters())


class NeverMerging(FakeEvaluator):
    def results(self):
        return self.errors


def use_evaluator(folder, evaluator, where):
    """``evaluator`` in a run, or in an evaluation without one; returns the error."""
    model = FakeModel()
    try:
        if where == "run":
            make_trainer(folder, model=model, iterations=2, evaluators=[evaluator()]).train()
        else:
            evaluate(model, VAL, [evaluator()])
    except SegkitError as error:
        return str(error), error.key, model.calls + model.predictions


def set_up(cfg):
    from segkit.engine.build import prepare_model
    from segkit.engine.datasets import build_data

    data = build_data(cfg)
    torch.manual_seed(5)
    return data, prepare_model(cfg.with_values({"data.classes": data.classes}), data, torch.device("cpu"))


def evaluate_real(cfg):
    from segkit.engine.build import build_evaluators
    from segkit.engine.datasets import val_loader
    from segkit.evaluation import evaluate

    data, model = set_up(cfg)
    loader = val_loader(cfg, data, torch.device("cpu"))
    return evaluate(model, loader, build_evaluators(cfg, model, data), torch.device("cpu"))


def gradients_of_step(cfg, shares=None):
    """The gradients of the first step; with ``shares`` the mean over that many processes."""
    from segkit.data import build_train_loader, build_transforms
    from segkit.engine.build import build_trainer
    from segkit.engine.datasets import train_loader
    from segkit.engine.train_step import batch_losses
    from segkit.registry import SAMPLER_REGISTRY

    data, model = set_up(cfg)
    model.train()
    device = torch.device("cpu")
    if shares is None:
        trainer = build_trainer(cfg, model, data, device)
        trainer.parallel.connect()
        trainer.compute_gradients([next(iter(train_loader(cfg, data, device)))])
    else:
        sampler = {"dataset": data.train, "num_samples": len(data.train), "seed": cfg.train.seed}
        for r in range(shares):
            loader = build_train_loader(
                data.train,
                build_transforms(cfg.data.train_transforms, path="data.train_transforms"),
                sampler=SAMPLER_REGISTRY.build(cfg.data.sampler, path="data.sampler", **sampler),
                batch_size=cfg.data.batch_size, seed=cfg.train.seed, rank=r, world_size=shares,
            )  # fmt: skip
            place = {"seed": cfg.train.seed, "step": 0, "part": 0, "rank": r}
            losses = batch_losses(model.losses, next(iter(loader)), **place, device=device, precision="fp32")
            (sum(losses.values()) / shares).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


class Normed(FakeModel):
    """With a batch norm and nothing random; one process's batch overflows in one step."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))

    def losses(self, images, targets, generator):
        self.calls += 1
        bad = self.calls == 3 and distributed.rank() == 1
        return {"fit": (self.layers(images * (torch.inf if bad else 1)) - targets).square().mean()}


def overflow_in_one(folder):
    """The state before and after a step that overflows in the second process alone, and after the next; how many counted."""
    states = []

    class Watch(Hook):
        def after_step(self, trainer):
            states.append({name: value.clone() for name, value in trainer.model.state_dict().items()})

    trainer = a_trainer(folder, model=Normed(), val=False, iterations=5, precision="fp16", extra=[Watch()])
    trainer.batch_losses = lambda batch, step, part: trainer.parallel.losses(batch.images, batch.targets, None)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    trainer.train()
    return states[1], states[2], states[3], trainer.model.layers[1].num_batches_tracked.item()


def wait_for_a_slow_one(seconds):
    """Sums of both processes, in a group whose time-out for operations on a device is short."""
    # Another port: the slower process must not take the store of the group that ends for that of the next one.
    os.environ["MASTER_PORT"] = str(distributed.broadcast(free_port()))
    torch.distributed.destroy_process_group()
    with distributed.process_group(torch.device("cpu"), seconds / 2):
        distributed.barrier()
        if distributed.rank() == 1:
            time.sleep(seconds)
        found = distributed.sum_integers([1, 0]), distributed.broadcast(1)
    return found
