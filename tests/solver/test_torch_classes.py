"""torch's optimizers and schedulers by dotted path or registered, compared with torch's own use of them."""

from __future__ import annotations

import copy
import pickle
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from segkit.config.describe import describe_components
from segkit.config.loader import load_config, load_config_dict
from segkit.config.parameter_rule import ParameterRule
from segkit.registry import OPTIMIZER_REGISTRY, SCHEDULE_REGISTRY, Registry
from segkit.solver import adapt_optimizer
from segkit.solver.parameter_groups import parameter_settings, regroup
from segkit.utils.errors import SegkitError

LR = "torch.optim.lr_scheduler."


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))


def build_optimizer(spec, net):
    return OPTIMIZER_REGISTRY.build(spec, path="solver.optimizer", model=net, params=list(net.parameters()))


def steps(optimizer, net, count=4):
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    for _ in range(count):
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()
    return [p.detach().clone() for p in net.parameters()]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("RAdam", {"lr": 0.1, "betas": [0.8, 0.9], "weight_decay": 0.1}),
        ("NAdam", {"momentum_decay": 0.01}),
        ("Adagrad", {"lr": 0.05, "lr_decay": 0.1}),
        ("RMSprop", {"momentum": 0.5, "centered": True}),
        ("Adafactor", {"lr": 0.1}),
        ("Rprop", {"etas": [0.5, 1.1]}),  # has no weight decay
        ("ASGD", {"lr": 0.02}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_optimizers_step_as_torchs_own(name, arguments):
    mine, theirs = model(), model()
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    own = steps(getattr(torch.optim, name)(theirs.parameters(), **plain), theirs)
    found = steps(build_optimizer({"name": f"torch.optim.{name}", **arguments}, mine), mine)
    for one, two in zip(found, own, strict=True):
        assert torch.equal(one, two)


def test_registering_is_enough():
    registry = Registry("OPTIMIZER", runtime=["model", "params"], makes=["step"])
    registry.adapts(torch.optim.Optimizer, "torch.optim")(adapt_optimizer)
    assert registry.register(torch.optim.RAdam) is torch.optim.RAdam
    net = model()
    made = registry.build({"name": "RAdam", "lr": 0.2}, model=net, params=list(net.parameters()))
    assert type(made) is torch.optim.RAdam and made.param_groups[0]["lr"] == 0.2


def test_an_optimizer_class_written_for_segkit_is_used_unchanged():
    class Own(torch.optim.SGD):
        def __init__(self, params, *, lr: float = 0.5):
            assert isinstance(params, list)
            super().__init__(params, lr=lr)

    class Foreign(torch.optim.SGD):
        def __init__(self, parameters, lr=0.5, weight_decay=0.25):
            super().__init__(parameters, lr=lr, weight_decay=weight_decay)

    assert adapt_optimizer(Own) is Own
    made = adapt_optimizer(Foreign)(model=model(), lr=0.1, weight_decay=0.5)
    assert type(made) is Foreign and made.param_groups[0]["weight_decay"] == 0.5


def test_parameter_groups_rules_and_state_work():
    net = model()
    optimizer = build_optimizer(
        {"name": "torch.optim.RAdam", "weight_decay": 0.1, "decay_norms_and_biases": False}, net
    )
    assert [(len(g["params"]), g["weight_decay"]) for g in optimizer.param_groups] == [(2, 0.1), (4, 0.0)]
    names = [name for name, _ in net.named_parameters()]
    regroup(optimizer, net, parameter_settings(names, [ParameterRule(match="0.*", lr_factor=0.1)]))
    assert sorted({round(group["lr"], 6) for group in optimizer.param_groups}) == [0.0001, 0.001]
    steps(optimizer, net)
    again = build_optimizer({"name": "torch.optim.RAdam", "weight_decay": 0.1, "decay_norms_and_biases": False}, net)
    regroup(again, net, parameter_settings(names, [ParameterRule(match="0.*", lr_factor=0.1)]))
    again.load_state_dict(optimizer.state_dict())
    copied = copy.deepcopy(net)
    assert pickle.loads(pickle.dumps(again)).param_groups[0]["lr"] == again.param_groups[0]["lr"]
    assert len(steps(again, net)) == len(list(copied.parameters()))


SCHEDULERS = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("LinearLR", {"start_factor": 0.1, "total_iters": 4}),
    ("PolynomialLR", {"total_iters": 8, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 12, "eta_min": 1e-3}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 2}),
    ("CyclicLR", {"base_lr": 0.001, "max_lr": 0.1, "step_size_up": 3, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.2, "total_steps": 12, "cycle_momentum": False}),
]


@pytest.mark.parametrize(("name", "arguments"), SCHEDULERS)
@pytest.mark.parametrize("order", [range(12), [11, 3, 3, 0, 7]], ids=["in order", "as resumed"])
def test_schedules_follow_torchs_scheduler(name, arguments, order):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.05)
    scheduler = getattr(lr_scheduler, name)(optimizer, **arguments)
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer.step()
            scheduler.step()
    schedule = SCHEDULE_REGISTRY.build({"name": LR + name, **arguments}, path="solver.schedule")
    for i in order:
        assert schedule.factor(i, 12, 5, 0.05) * 0.05 == pytest.approx(rates[i], rel=1e-9)


def test_the_length_of_the_run_is_the_default():
    cosine = SCHEDULE_REGISTRY.build({"name": LR + "CosineAnnealingLR"})
    assert cosine.factor(50, 100, 10, 0.1) == pytest.approx(0.5)
    one = SCHEDULE_REGISTRY.build({"name": LR + "OneCycleLR", "max_lr": 0.1})
    assert max(one.factor(i, 100, 10, 0.1) for i in range(100)) == pytest.approx(1.0)
    assert one.factor(100, 100, 10, 0.1) == one.factor(99, 100, 10, 0.1), "after the end: that of the end"


def test_epochs_warm_up_and_sequences():
    by_epoch = SCHEDULE_REGISTRY.build({"name": LR + "StepLR", "step_size": 2, "step": "epoch"})
    assert [round(by_epoch.factor(i, 60, 10, 0.1), 9) for i in (0, 19, 20, 39, 40, 59)] == [1, 1, 0.1, 0.1, 0.01, 0.01]
    warm = SCHEDULE_REGISTRY.build(
        {"name": LR + "ConstantLR", "factor": 1.0, "warmup_iterations": 4, "warmup_factor": 0.5}
    )
    assert [warm.factor(i, 60, 10, 0.1) for i in (0, 2, 4)] == [0.5, 0.75, 1.0]
    parts = [
        {"name": LR + "ConstantLR", "factor": 0.5, "total_iters": 99},
        {"name": LR + "ExponentialLR", "gamma": 0.5},
    ]
    sequence = SCHEDULE_REGISTRY.build({"name": LR + "SequentialLR", "schedulers": parts, "milestones": [2]})
    assert [sequence.factor(i, 8, 2, 0.1) for i in range(5)] == pytest.approx([0.5, 0.5, 1, 0.5, 0.25])


def test_groups_of_other_rates_and_pickles():
    schedule = SCHEDULE_REGISTRY.build({"name": LR + "ExponentialLR", "gamma": 0.5})
    assert schedule.factor(3, 10, 5, 0.1) == schedule.factor(3, 10, 5, 0.1 * 0.3 / 0.3) == pytest.approx(0.125)
    assert schedule.factor(3, 10, 5, 0.0) == 1.0
    for again in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert again.factor(3, 10, 5, 0.1) == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("registry", "spec", "message"),
    [
        (OPTIMIZER_REGISTRY, {"name": "torch.optim.RAdm"}, r"torch\.optim has no 'RAdm'; did you mean 'torch\.optim\.RAdam'"),
        (OPTIMIZER_REGISTRY, {"name": "torch.optm.RAdam"}, r"torch has no 'optm'; did you mean 'torch\.optim'\?"),
        (OPTIMIZER_REGISTRY, {"name": "RAdam"}, r"no optimizer is called 'RAdam'; torch's own is 'torch\.optim\.RAdam'"),
        (OPTIMIZER_REGISTRY, {"name": "torch.nn.Conv2d"}, r"'torch\.nn\.Conv2d' is no optimizer: a class of another kind"),
        (OPTIMIZER_REGISTRY, {"name": "torch.load"}, r"'torch\.load' is no optimizer: a function"),
        (OPTIMIZER_REGISTRY, {"name": "torch.optim.Optimizer"}, r"torch\.optim\.Optimizer' is .*(derive|base class)"),
        (OPTIMIZER_REGISTRY, {"name": "os.path.join"}, r"is no optimizer"),
        (OPTIMIZER_REGISTRY, {"name": "seg_no_such.Lion"}, r"torch, torchvision, or a module that `imports`"),
        (OPTIMIZER_REGISTRY, {"name": "torch.optim.LBFGS"}, r"LBFGS .*closure"),
        (OPTIMIZER_REGISTRY, {"name": "torch.optim.SparseAdam"}, r"SparseAdam .*sparse gradients"),
        (OPTIMIZER_REGISTRY, {"name": "torch.optim.Muon"}, r"Muon refuses its arguments: ValueError"),
        (OPTIMIZER_REGISTRY, {"name": "torch.optim.RAdam", "lr": -1.0}, r"RAdam refuses its arguments: ValueError: .*-1"),
        (OPTIMIZER_REGISTRY, {"name": "torch.optim.RAdam", "beta": 1}, r"has no argument 'beta'; did you mean 'betas'\?"),
        (SCHEDULE_REGISTRY, {"name": "OneCycleLR"}, r"torch's own is 'torch\.optim\.lr_scheduler\.OneCycleLR'"),
        (SCHEDULE_REGISTRY, {"name": LR + "OneCycelLR"}, r"did you mean 'torch\.optim\.lr_scheduler\.OneCycleLR'"),
        (SCHEDULE_REGISTRY, {"name": LR + "ReduceLROnPlateau"}, r"follows a metric"),
        (SCHEDULE_REGISTRY, {"name": LR + "LambdaLR", "lr_lambda": "x"}, r"LambdaLR .*function"),
        (SCHEDULE_REGISTRY, {"name": LR + "StepLR"}, r"needs the argument 'step_size'"),
        (SCHEDULE_REGISTRY, {"name": LR + "OneCycleLR", "max_lr": 1.0, "cycle_momentum": True}, r"set the learning rate only"),
        (SCHEDULE_REGISTRY, {"name": "torch.optim.SGD"}, r"'torch\.optim\.SGD' is no schedule"),
    ],
)  # fmt: skip
def test_mistakes(registry, spec, message):
    runtime = {"model": model(), "params": []} if registry is OPTIMIZER_REGISTRY else {}
    with pytest.raises(SegkitError, match=message):
        registry.build(spec, path="solver.part", **runtime)


def test_a_dotted_path_imports_torch_and_torchvision_only(tmp_path, monkeypatch):
    """A configuration from a URL may name it; what a local one imports can be named."""
    (tmp_path / "seg_test_lion.py").write_text(
        "import torch\nclass Lion(torch.optim.SGD):\n    def __init__(self, params, lr=0.25): super().__init__(params, lr=lr)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = {"name": "seg_test_lion.Lion"}
    with pytest.raises(SegkitError, match=r"a module that `imports` lists"):
        build_optimizer(spec, model())
    assert "seg_test_lion" not in sys.modules
    import seg_test_lion

    made = build_optimizer(spec, model())
    assert type(made) is seg_test_lion.Lion and made.param_groups[0]["lr"] == 0.25


def test_a_scheduler_that_ends_before_the_run_is_an_error_at_its_first_step():
    schedule = SCHEDULE_REGISTRY.build({"name": LR + "OneCycleLR", "max_lr": 0.1, "total_steps": 5})
    with pytest.raises(SegkitError, match=r"OneCycleLR .*total_steps = 5.* 6"):
        schedule.factor(0, 6, 3, 0.1)


def test_in_a_configuration(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "_BASE_: segkit://quickstart.yaml\n"
        "solver:\n"
        "  optimizer: {name: torch.optim.RAdam, lr: 1e-3, betas: [0.8, 0.9]}\n"
        "  schedule: {name: torch.optim.lr_scheduler.OneCycleLR, max_lr: 1e-2, warmup_iterations: 3}\n"
    )
    cfg = load_config(tmp_path / "run.yaml")
    again = load_config_dict(cfg.to_dict())
    for found in (cfg, again):
        assert found.solver.optimizer.name == "torch.optim.RAdam" and found.solver.optimizer.betas == (0.8, 0.9)
        assert (found.solver.schedule.warmup_iterations, found.solver.schedule.cycle_momentum) == (3, False)
    assert pickle.loads(pickle.dumps(cfg)).to_dict() == cfg.to_dict()
    for override, message in (
        (
            "solver.optimizer.lr=fast",
            r"solver\.optimizer\.lr \(command line\): expected a number, given the text 'fast'",
        ),
        ("solver.optimizer.beta=1", r"has no argument 'beta'; did you mean 'betas'"),
        ("solver.optimizer.name=torch.optim.Adm", r"solver\.optimizer\.name \(command line\): .*did you mean"),
        ("solver.schedule.max_lr=high", r"solver\.schedule\.max_lr"),
    ):
        with pytest.raises(SegkitError, match=message):
            load_config(tmp_path / "run.yaml", [override])
    text = describe_components("torch.optim.RAdam")
    assert "decay_norms_and_biases" in text and "betas" in text and "params" not in text
    assert "warmup_iterations" in describe_components(LR + "OneCycleLR")
    with pytest.raises(SegkitError, match=r"did you mean"):
        describe_components("torch.optim.RAdm")
