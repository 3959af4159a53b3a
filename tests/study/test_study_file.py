"""The study file and the plan that is made of it."""

from __future__ import annotations

import pytest

from segkit.study.plan import plan_study, value_name
from segkit.study.study_file import read_study
from segkit.utils.errors import SegkitError
from segkit.utils.paths import packaged_configs


def plan(file, **settings):
    return plan_study(read_study(file), **settings)


def test_runs_come_by_seed_and_after_the_run_they_evaluate(study_file):
    found = plan(study_file())
    assert [run.name for run in found.runs] == [
        f"{name} seed {s}" for s in (0, 1) for name in ("narrow", "wide", "strict")
    ]
    run = found.of_variant("wide")[1]
    assert run.config.train.seed == 1 and run.config.train.iterations == 6 and run.config.train.epochs is None
    assert run.config.output_dir == str(run.folder) == "out/wide/seed_1"
    strict = found.of_variant("strict")[1]
    assert strict.parent == run.folder and strict.config.model["roi_heads"]["score_threshold"] == 0.5
    assert strict.config.model["neck"]["out_channels"] == 24


def test_the_grid_is_a_product_and_overrides_come_in_order(study_file):
    text = """
base: base.yaml
output: out
overrides: {data.batch_size: 3, train.log_period: 5}
grid:
  model.neck.out_channels: [8, 16]
  solver.optimizer: [{name: SGD, lr: 0.1}, {name: AdamW, lr: 1e-3}]
"""
    found = plan(study_file(text), overrides=["train.log_period=7"], seeds=[4], output="other")
    assert list(found.variants) == [f"out_channels_{n}-optimizer_{name}" for n in (8, 16) for name in ("SGD", "AdamW")]
    config = found.runs[2].config
    assert (config.solver.optimizer["name"], config.model["neck"]["out_channels"]) == ("SGD", 16)
    assert (config.data.batch_size, config.train.log_period, config.train.seed) == (3, 7, 4)
    assert str(found.output) == "other"


def test_a_budget_of_minutes_is_a_hook(study_file):
    found = plan(study_file(**{"{iterations: 6}": "{minutes: 2.5}"}))
    assert found.runs[0].config.hooks[-1] == {"name": "TimeLimit", "minutes": 2.5}


def test_values_name_folders():
    assert [value_name(v) for v in (1e-4, [400, 1000], {"name": "SGD", "lr": 1}, "../x", None)] == [
        "0.0001", "400_1000", "SGD", "x", "None",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "old, new, facts",
    [
        ("seeds: [0, 1]", "seed: [0, 1]", ["study.yaml:4", "no such key", "'seeds'"]),
        ("seeds: [0, 1]", "seeds: [0, 0]", ["seeds", "different"]),
        ("seeds: [0, 1]", "seeds: [-1]", ["seeds", "at least 0"]),
        ("{iterations: 6}", "{iterations: 6, epochs: 2}", ["budget", "one of"]),
        ("metric: segm/AP", "metric: 3", ["study.yaml:5", "metric", "text"]),
        ("model.neck.out_channels: 24", "model.neck.out_chanels: 24", ["run 'wide'", "study.yaml:9", "out_channels"]),
        ("model.neck.out_channels: 24", "train.seed: 24", ["train.seed", "'seeds'"]),
        ("model.neck.out_channels: 24", "output_dir: x", ["output_dir", "'output'"]),
        ("{from: wide,", "{form: wide,", ["study.yaml:10", "no such key", "from"]),
        ("{from: wide,", "{from: widee,", ["study.yaml:10", "no run 'widee'", "'wide'"]),
        ("{from: wide,", "{from: strict,", ["study.yaml:10", "itself"]),
        ("{from: wide,", "{from: wide, base: base.yaml,", ["base"]),
        ("{run: wide,", "{run: wde,", ["study.yaml:16", "no run 'wde'", "'wide'"]),
        ("rows: [strict, wide]", "rows: [wide, wide]", ["twice"]),
        ("rows: [strict, wide]", "rows: []", ["study.yaml:17", "rows"]),
        ("rows: [strict, wide]", "rows: [strict]", ["baseline", "'wide'"]),
        ("label: Narrow", "lable: Narrow", ["study.yaml:15", "label"]),
        ("  narrow:", "  ../narrow:", ["'../narrow' names a folder"]),
        ("base: base.yaml", "base: bas.yaml", ["bas.yaml", "base.yaml"]),
        ("base: base.yaml", "executor: {name: slrm}", ["slrm", "slurm"]),
        ("base: base.yaml", "executor: {name: local, job: 1}", ["job", "jobs"]),
        ("base: base.yaml", "tabels: 3", ["no such key", "tables"]),
        ("budget:", "overrides: {data.val: null}\nbudget:", ["data.val", "compare"]),
    ],
)  # fmt: skip
def test_mistakes(study_file, old, new, facts):
    with pytest.raises(SegkitError) as error:
        plan(study_file(**{old: new}))
    assert all(fact in str(error.value) for fact in facts), str(error.value)


def test_nothing_to_run(study_file):
    with pytest.raises(SegkitError, match="nothing to run"):
        plan(study_file("output: out\nbase: base.yaml\n"))
    with pytest.raises(SegkitError, match="expected the keys of a study"):
        plan(study_file("- 3\n"))


def test_the_shipped_studies_are_valid():
    published = [
        row.published
        for table in read_study(packaged_configs() / "cells/study.yaml").tables.values()
        for row in table.rows
    ]
    assert published == [0.33, 0.36, 0.40, 0.39, 0.40, 0.36, 0.40, 0.37, 0.40]
    found = plan(packaged_configs() / "cells/study.yaml")
    backbone = {name: found.of_variant(name)[0].config.model["backbone"] for name in found.variants}
    assert [backbone[name]["name"] for name in ("resnet50", "efficientnet_v2_m", "convnext_base")] == [
        "ResNet", "EfficientNetV2", "ConvNeXt",
    ]  # fmt: skip
    assert found.of_variant("convnext_base_threshold_0.7")[0].parent == found.of_variant("convnext_base")[0].folder
    assert {run.config.evaluators[0]["score_thresholds"][0] for run in found.runs} == {0.5}
    assert len(plan(packaged_configs() / "cells/study_cpu.yaml").runs) == 18
