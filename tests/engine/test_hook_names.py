"""A checkpoint tells hooks apart by their names, and optimizers' parameters by theirs."""

import pytest
import torch
from fakes import FakeModel, lines, make_trainer

from segkit.config import load_config
from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.hooks import Hook, Writers
from segkit.engine.hooks.base import Writer
from segkit.registry import HOOK_REGISTRY
from segkit.utils.errors import SegkitError


class Count(Hook):
    def __init__(self, start=0, name=None):
        self.n = start
        if name is not None:
            self.name = name

    def after_step(self, trainer):
        self.n += 1

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


class Product(Count):
    """A state of the same form that means something else."""


class Silent(Hook):
    """Keeps no state."""


def run(folder, hooks, *, iterations=3, state=None):
    trainer = make_trainer(folder, iterations=iterations, extra=hooks, state=state, val_loader=None)
    trainer.train()
    return read_checkpoint(folder / "model_final.pth")


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"], ["new", "b", "a"], ["b"], ["a", "other", "b"]])
def test_states_follow_the_names_in_any_order(tmp_path, order):
    state = run(tmp_path, [Count(0, "a"), Count(100, "b")])
    assert state["hooks"]["a"] == {"n": 3} and state["hooks"]["b"] == {"n": 103}
    again = {name: Count(-50, name) for name in order}
    make_trainer(tmp_path, iterations=5, extra=list(again.values()), state=state, val_loader=None)
    expected = {"a": 3, "b": 103}
    assert {name: hook.n for name, hook in again.items()} == {name: expected.get(name, -50) for name in order}


def test_what_is_gone_and_what_is_new_is_a_warning(tmp_path, caplog):
    state = run(tmp_path, [Count(0, "a"), Count(100, "b"), Silent()])
    caplog.clear()
    make_trainer(tmp_path, iterations=5, extra=[Count(0, "b"), Count(0, "c"), Product(7)], state=state, val_loader=None)
    messages = [record.getMessage() for record in caplog.records if "hook" in record.getMessage()]
    assert messages == [
        "the checkpoint has the state of a hook a (Count), which this run does not have",
        "the checkpoint has no state for the hook c (Count): it starts without a state",
        "the checkpoint has no state for the hook Product (Product): it starts without a state",
    ]


def test_a_state_never_goes_to_a_hook_of_another_class(tmp_path, caplog):
    state = run(tmp_path, [Count(0, "mine")])
    other = Product(1, "mine")
    make_trainer(tmp_path, iterations=5, extra=[other], state=state, val_loader=None)
    assert other.n == 1
    assert "the hook mine was a Count when the checkpoint was written and is a Product now" in caplog.text


@pytest.mark.parametrize(
    "hooks",
    [
        lambda: [Count(), Count()],
        lambda: [Count(0, "a"), Count(0, "a")],
        lambda: [Count(0, "Product"), Product()],
        lambda: [Count(0, "Timer")],  # a default hook's
        lambda: [Silent(), named(Silent(), "Count"), Count()],
    ],
)
def test_two_hooks_that_a_checkpoint_could_not_distinguish(tmp_path, hooks):
    with pytest.raises(SegkitError, match=r"two hooks are called '\w+'.*hook_name: .*hook.name = "):
        make_trainer(tmp_path, extra=hooks())


def named(hook, name):
    hook.name = name
    return hook


@pytest.mark.parametrize("name", [3, "", None, "Silent#2"])
def test_a_name_is_a_text(tmp_path, name):
    with pytest.raises(SegkitError, match=r"the name of hooks\[\d\] \(Silent\) is a text"):
        make_trainer(tmp_path, extra=[named(Silent(), name)])


def test_hooks_without_a_state_need_no_names(tmp_path):
    trainer = make_trainer(tmp_path, extra=[Silent(), Silent()], val_loader=None)
    assert list(trainer.named_hooks()) == ["Timer", "Silent", "Silent#2", "Writers", "PeriodicCheckpoint"]
    trainer.train()


def test_a_class_may_name_its_hooks():
    class Fine(Count):
        name = "fine"

    class Finer(Fine):
        pass

    assert [Hook.name, Count().name, Fine().name, Finer().name] == ["Hook", "Count", "fine", "Finer"]


@pytest.mark.parametrize("names", [["first", "second"], ["Count", "other"]])
def test_older_checkpoints_have_their_classes_and_order(tmp_path, names):
    state = run(tmp_path, [Count(0, "a"), Count(100, "b")])
    del state["hook_classes"]
    state["hooks"] = {"Count": state["hooks"]["a"], "Count#2": state["hooks"]["b"]}
    state["pending"] = ["LearningRate", "Count#2", "Writers"]  # a hook that is no more among them
    again = [Count(-1, name) for name in names]
    trainer = make_trainer(tmp_path, iterations=5, extra=again, state=state, val_loader=None)
    assert [hook.n for hook in again] == [3, 103]
    assert trainer.pending == [names[1], "Writers"]


def test_hooks_that_had_still_to_run_are_known_by_name(tmp_path):
    class Interrupt(Hook):
        def after_step(self, trainer):
            if trainer.iteration == 2 and trainer.start_iteration == 0:
                raise RuntimeError

    hooks = [Count(0, "before"), Interrupt(), Count(100, "after")]
    with pytest.raises(RuntimeError):
        make_trainer(tmp_path, iterations=3, extra=hooks, val_loader=None).train()
    state = read_checkpoint(tmp_path / "model_0000002.pth")
    assert state["pending"][:2] == ["Interrupt", "after"]
    again = [Count(0, "after"), Interrupt(), Count(0, "before")]
    run(tmp_path, again, state=state)
    assert {hook.name: hook.n for hook in (again[0], again[2])} == {"before": 3, "after": 103}


def test_a_writers_hook_of_another_name_loses_and_repeats_no_line(tmp_path):
    """metrics.json is cut at the iteration for which its hook has not run, under any hook name."""

    class Stop(Writer):
        def write(self, trainer, record):
            if trainer.iteration == 3 and trainer.start_iteration == 0:
                raise RuntimeError

    def trainer(**settings):
        found = make_trainer(tmp_path, iterations=6, val_loader=None, **settings)
        (writers,) = (hook for hook in found.hooks if isinstance(hook, Writers))
        writers.name = "lines"
        writers.writers.append(Stop())
        return found

    with pytest.raises(RuntimeError):
        trainer().train()
    state = read_checkpoint(tmp_path / "model_0000003.pth")
    assert state["pending"] == ["lines", "PeriodicCheckpoint"]
    trainer(state=state).train()
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 3, 6]


def test_a_checkpoint_between_the_hooks_knows_those_that_follow(tmp_path):
    """Hooks in another order than the default one: the resumed run calls the later ones for the saved iteration."""
    trainer = make_trainer(tmp_path, iterations=7, val_loader=None)
    trainer.hooks.append(Count(0, "last"))
    trainer.train()
    state = read_checkpoint(tmp_path / "model_0000005.pth")
    assert state["pending"] == ["last"] and state["hooks"]["last"] == {"n": 4}
    again = Count(0, "last")
    resumed = make_trainer(tmp_path, iterations=7, val_loader=None)
    resumed.hooks.append(again)
    from segkit.engine.train_state import restore

    restore(resumed, state)
    resumed.loader.start_iteration = 5
    resumed.train()
    assert again.n == 7


def test_names_in_a_configuration():
    text = "hooks=[{name: Profiler, hook_name: early}, {name: Profiler, hook_name: late, wait: 30}, {name: Profiler}]"
    cfg = load_config("segkit://quickstart.yaml", [text])
    assert load_config_again(cfg).hooks == cfg.hooks
    hooks = [HOOK_REGISTRY.build(spec, path="hooks", period=1) for spec in cfg.hooks]
    assert [hook.name for hook in hooks] == ["early", "late", "Profiler"]
    with pytest.raises(SegkitError, match=r"hooks.0.hook_name.*expected text, given 3"):
        load_config("segkit://quickstart.yaml", ["hooks=[{name: Profiler, hook_name: 3}]"])
    with pytest.raises(SegkitError, match=r"COCO has no argument 'hook_name'"):
        load_config("segkit://quickstart.yaml", ["evaluators=[{name: COCO, hook_name: a}]"])


def load_config_again(cfg):
    from segkit.config import load_config_dict

    return load_config_dict(cfg.to_dict(), "again")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_moments_follow_the_parameters_names(tmp_path, order):
    """Groups of parameters of equal shapes, in another order: each parameter keeps its own moments."""

    class Three(FakeModel):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layers = torch.nn.Sequential(*(torch.nn.Linear(3, 3, bias=False) for _ in range(3)))

        def losses(self, images, targets, generator):
            return {"fit": (self.layers(images).sum(1, keepdim=True) - targets).square().mean()}

    def trainer(order, **settings):
        model = Three()
        found = make_trainer(tmp_path, model=model, iterations=3, val_loader=None)
        groups = [{"params": [model.layers[i].weight]} for i in order]
        found.optimizer = torch.optim.AdamW(groups, lr=0.01)
        return found

    first = trainer((0, 1, 2))
    first.train()
    moments = [first.optimizer.state[layer.weight]["exp_avg"] for layer in first.model.layers]
    assert not torch.equal(moments[0], moments[1])
    from segkit.engine.train_state import restore

    again = trainer(order)
    restore(again, read_checkpoint(tmp_path / "model_final.pth"))
    for layer, moment in zip(again.model.layers, moments, strict=True):
        assert torch.equal(again.optimizer.state[layer.weight]["exp_avg"], moment)


def test_early_stopping_of_another_name_forgets_what_is_not_comparable():
    from segkit.engine.config_diff import ConfigChange
    from segkit.engine.resume import without_incomparable_best

    state = {"hooks": {"mine": {"best": 1}, "n": {"n": 2}}, "hook_classes": {"mine": "EarlyStopping", "n": "Count"}}
    found = without_incomparable_best(state, [ConfigChange("data.val.json", "a", "b")])
    assert found["hooks"] == {"n": {"n": 2}}
