# ruff: noqa: E501 - a case a line
from __future__ import annotations

import dataclasses

import pytest

from segkit.config import Config, Period, Spec, load_config, load_config_dict
from segkit.utils.errors import SegkitError


def test_a_minimal_config_is_complete(load):
    cfg = load()
    assert cfg.model == {
        "name": "Detector",
        "backbone": {"name": "TinyNet", "width": 8, "arch": "small", "weights": None, "drop": 0.0, "scales": None},
        "neck": {"name": "FPN", "out_channels": 64, "norm": None},
        "extra": None,
        "necks": (),
        "pixel_mean": (0.5, 0.5, 0.5),
    }
    assert cfg.solver.optimizer == {"name": "AdamW", "lr": 1e-4, "weight_decay": 1e-2}
    assert cfg.solver.schedule == {"name": "Cosine", "end_lr": 0.0, "step": "iteration"}
    assert cfg.data.val is None and cfg.data.classes is None and cfg.data.batch_size == 4
    assert [t.name for t in cfg.data.train_transforms] == ["RandomHorizontalFlip", "ResizeShortestEdge"]
    assert (cfg.train.epochs, cfg.train.iterations, cfg.train.eval_period) == (20, None, Period(1, "epoch"))
    assert cfg.train.total_iterations(10) == 200
    assert [e.name for e in cfg.evaluators] == ["COCO", "PrecisionRecall"] and cfg.hooks == ()


def test_the_tree_is_frozen(load):
    cfg = load()
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.train.epochs = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        cfg.model.backbone.width = 3


def test_origins(load):
    cfg = load("train:\n  precision: bf16\n", "model.backbone.width=3")
    assert cfg.origins["train.precision"] == "run.yaml:7"
    assert cfg.origins["model.backbone.name"] == "run.yaml:3"
    assert cfg.origins["model.backbone.width"] == "command line"
    assert cfg.origins["model.backbone.arch"] == cfg.origins["train.seed"] == cfg.origins["data.val"] == "default"


def test_round_trips(load, write):
    cfg = load(
        "hooks: [{name: Report, period: 2 epochs, text: '1e-4'}]\ntrain: {iterations: 7, eval_period: 0}\n",
        "model.backbone.scales={a: 1, b: 1e-6}",
        "data.val.from_train=0.1",
        "data.classes=['no', '1', é]",
        "model.extra={name: FPN}",
        "model.necks=[{name: FPN, norm: x}]",
    )
    write("elsewhere/saved.yaml", cfg.to_yaml())
    assert load_config("elsewhere/saved.yaml") == cfg
    assert load_config_dict(cfg.to_dict()) == cfg
    assert cfg.with_overrides([]) == cfg and cfg.with_overrides([]).origins == cfg.origins
    assert cfg.train.iterations == 7 and cfg.train.epochs is None and cfg.data.classes == ("no", "1", "é")
    assert load_config("elsewhere/saved.yaml", ["train.epochs=3"]).train.iterations is None


def test_with_overrides_and_values(load):
    cfg = load("", "model.backbone.width=3")
    changed = cfg.with_overrides(["model.backbone.name=BigNet", "model.backbone.depth=2"])
    assert changed.model.backbone.name == "BigNet" and cfg.model.backbone.name == "TinyNet"
    named = cfg.with_values({"data.classes": ("a", "b"), "output_dir": "x"}, origin="data set")
    assert named.data.classes == ("a", "b") and named.output_dir == "x" and isinstance(named, Config)
    assert named.origins["data.classes"] == "data set" and named.origins["model.backbone.width"] == "command line"
    with pytest.raises(SegkitError, match=r"^train\.epoch \(program\): .*'train\.epochs'"):
        cfg.with_values({"train.epoch": 3})


def test_base_files(write):
    write(
        "base/a.yaml",
        "model: {name: Detector, backbone: {name: TinyNet, width: 4, drop: 0.5}}\ntrain: {seed: 1, epochs: 3}\n",
    )
    write(
        "base/b.yaml", "train: {seed: 2}\nhooks: [{name: Report}]\ndata: {train: {format: coco, json: j, images: i}}\n"
    )
    write(
        "run/c.yaml",
        "_BASE_: [../base/a.yaml, ../base/b.yaml]\nmodel: {backbone: {width: 5}}\ntrain: {iterations: 9}\nhooks: []\n",
    )
    cfg = load_config("run/c.yaml")
    assert cfg.model.backbone == {
        "name": "TinyNet",
        "width": 5,
        "drop": 0.5,
        "arch": "small",
        "weights": None,
        "scales": None,
    }
    assert (cfg.train.seed, cfg.train.epochs, cfg.train.iterations) == (2, None, 9) and cfg.hooks == ()
    assert cfg.origins["train.seed"] == "base/b.yaml:1" and cfg.origins["model.backbone.drop"] == "base/a.yaml:1"
    assert cfg.origins["model.backbone.width"] == "run/c.yaml:2" and cfg.origins["train.epochs"] == "run/c.yaml:3"
    write("run/d.yaml", "_BASE_: c.yaml\nmodel: {backbone: {name: BigNet, depth: 1}}\n"
          "data: {train: {format: label_map, root: r}}\ntrain:\n")  # fmt: skip
    cfg = load_config("run/d.yaml", ["train.epochs=4"])
    assert cfg.model.backbone == {"name": "BigNet", "depth": 1, "stages": ["a"]}, "another name inherits nothing"
    assert cfg.data.train == {"format": "label_map", "root": "r", "classes": None}
    assert (cfg.train.epochs, cfg.train.iterations, cfg.train.seed) == (4, None, 2)


def test_a_base_reached_twice_is_no_cycle(write):
    write(
        "root.yaml", "model: {name: Detector, backbone: {name: TinyNet}}\ndata: {train: {format: label_map, root: r}}\n"
    )
    write("left.yaml", "_BASE_: root.yaml\n")
    write("right.yaml", "_BASE_: ./root.yaml\ntrain: {seed: 3}\n")
    write("run.yaml", "_BASE_: [left.yaml, right.yaml]\n")
    assert load_config("run.yaml").train.seed == 3


def test_a_cycle_shows_its_chain(write):
    write("a.yaml", "_BASE_: sub/b.yaml\n")
    write("sub/b.yaml", "_BASE_: ../c.yaml\n")
    write("c.yaml", "_BASE_: a.yaml\n")
    with pytest.raises(SegkitError, match=r"circle: a\.yaml -> sub/b\.yaml -> c\.yaml -> a\.yaml$"):
        load_config("a.yaml")
    write("self.yaml", "_BASE_: self.yaml\n")
    with pytest.raises(SegkitError, match=r"self\.yaml -> self\.yaml$"):
        load_config("self.yaml")


def test_packaged_configs_are_found_from_anywhere():
    from segkit.utils.paths import packaged_configs

    assert (packaged_configs() / "_base_").is_dir()
    with pytest.raises(SegkitError, match=r"model\.name \(segkit://_base_/mask_rcnn_fpn\.yaml:\d+\): .*meta arch"):
        load_config("segkit://quickstart.yaml")


MISTAKES = [
    ("model: {name: Detector, backbone: {name: TinyNt}}\n", "", r"^model\.backbone\.name \(run\.yaml:1\): .*"
     r"'TinyNt'; did you mean 'TinyNet'\?$"),
    ("model: {name: Detector, backbone: {name: TinyNet, widht: 3}}\n", "", r"^model\.backbone\.widht \(run\.yaml:1\): TinyNet "
     r".*'widht'; did you mean 'width'.*\?$"),
    ("model: {name: Detector, backbone: {name: TinyNet, width: x}}\n", "", r"^model\.backbone\.width \(run\.yaml:1\): .*"
     r"integer, given .*'x'$"),
    ("model: {name: Detector, backbone: {name: TinyNet, arch: smal}}\n", "", r"model\.backbone\.arch .*'smal'.*did you mean 'small'"),
    ("model: {name: Detector, backbone: {name: TinyNet, drop: 2}}\n", "", r"model\.backbone\.drop .*must be at least 0 and at most 1"),
    ("model: {name: Detector, backbone: {name: BigNet}}\n", "", r"^model\.backbone \(run\.yaml:1\): BigNet .*'depth'"),
    ("model: {name: Detector}\n", "", r"^model \(run\.yaml:1\): Detector .*'backbone'"),
    ("model: {name: Detector, backbone: TinyNet}\n", "", r"backbone such as \{name: TinyNet\}, given .*'TinyNet'$"),
    ("model: {name: Detector, backbone: null}\n", "", r"^model\.backbone \(run\.yaml:1\): .*backbone, given null$"),
    ("model: {name: Detector, backbone: {width: 3}}\n", "", r"^model\.backbone \(run\.yaml:1\): 'name' is missing"),
    ("model: {name: Detector, backbone: {name: 3}}\n", "", r"^model\.backbone \(run\.yaml:1\): 'name' is 3"),
    ("model: {name: Detector, backbone: {name: TinyNet}, num_classes: 3}\n", "", r"^model\.num_classes \(run\.yaml:1\): 'num_classes' of "
     r"Detector .*cannot be"),
    ("model: {name: Detector, backbone: {name: TinyNet}, necks: {name: FPN}}\n", "", r"model\.necks .*list of specs"),
    ("model: {name: Detector, backbone: {name: TinyNet}, necks: [{name: FPN}, {name: FNP}]}\n", "", r"^model\.necks\.1\.name .*'FPN'"),
    ("model: {name: Detector, backbone: {name: TinyNet}, pixel_mean: [1, a]}\n", "", r"^model\.pixel_mean\.1 \(run\.yaml:1\): .*"
     r"number, given .*'a'$"),
    ("model: 3\n", "", r"^model \(run\.yaml:1\): .*meta arch, given 3$"),
    ("model:\n", "", r"^model \(run\.yaml:1\): .*meta arch, given null$"),
    ("", "{}", r"model.*is missing"),
    ("", "train: {epochs: 1.5}", r"^train\.epochs \(run\.yaml:\d\): .*integer or null, given 1\.5$"),
    ("", "train: {epochs: 0}", r"train\.epochs .*at least 1, given 0"),
    ("", "train: {epochs: 3, iterations: 4}", r"^train\.iterations \(run\.yaml:\d\): .*train\.epochs \(run\.yaml:\d\)"),
    ("", "train: [1]", r"^train \(run\.yaml:\d\): .*mapping.*, given the list \[1\]$"),
    ("", "train: {precison: fp32}", r"^train\.precison \(run\.yaml:\d\): .*did you mean 'train\.precision'\?$"),
    ("", "hooks: {name: Report}", r"^hooks \(run\.yaml:\d\): .*list of specs"),
    ("", "hooks: [{name: Report, period: soon}]", r"^hooks\.0\.period .*iterations, as 500, or epochs.*'soon'"),
    ("", "SOLVER: {BASE_LR: 1}", r"^SOLVER\.BASE_LR \(run\.yaml:\d\): .*did you mean 'solver\.optimizer\.lr'\?$"),
    ("", "solver: {optimizer: {name: SGD}}", r"^solver\.optimizer \(run\.yaml:\d\): SGD .*'lr'"),
    ("", "3: x", r"^3 \(run\.yaml:\d\): .*no such key"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "rest", "message"), MISTAKES)
def test_mistakes(write, model, rest, message):
    model = model or ("" if rest == "{}" else "model: {name: Detector, backbone: {name: TinyNet}}\n")
    name = write("run.yaml", model + "data: {train: {format: label_map, root: r}}\n" + (rest if rest != "{}" else ""))
    with pytest.raises(SegkitError, match=message) as caught:
        load_config(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("val", "message"),
    [
        ("{from_train: 1.5}", r"^data\.val\.from_train .*must be above 0 and below 1"),
        ("{fromtrain: 0.5}", r"did you mean 'data\.val\.from_train'"),
        ("{seed: 3}", r"^data\.val\.from_train \(run\.yaml:6\): is missing"),
        ("0.1", r"^data\.val \(run\.yaml:6\): .*dataset format"),
        ("{format: cocoo}", r"^data\.val\.format .*'coco'"),
    ],
)
def test_mistakes_in_the_validation_set(load, val, message):
    with pytest.raises(SegkitError, match=message):
        load(f"  val: {val}\n")


def test_mistakes_of_files(write, folder):
    with pytest.raises(SegkitError, match=r"'runn\.yaml'.*did you mean 'run\.yaml'\?$"):
        write("run.yaml", "")
        load_config("runn.yaml")
    with pytest.raises(SegkitError, match=r"'configs/quickstart\.yaml'.* segkit://quickstart\.yaml$"):
        load_config("configs/quickstart.yaml")
    with pytest.raises(SegkitError, match=r"^_BASE_ \(top\.yaml:2\): .*'sub/none\.yaml'"):
        load_config(write("top.yaml", "output_dir: x\n_BASE_: sub/none.yaml\n"))
    with pytest.raises(SegkitError, match=r"^_BASE_ \(top\.yaml:1\): .*text, given 3"):
        load_config(write("top.yaml", "_BASE_: 3\n"))
    with pytest.raises(SegkitError, match=r"is a folder, not a file"):
        load_config(folder)
    with pytest.raises(SegkitError, match=r"list\.yaml:1: .*given the list"):
        load_config(write("list.yaml", "[1]"))
    with pytest.raises(SegkitError, match=r"model .*is missing"):
        load_config(write("empty.yaml", ""))
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SegkitError, match=r"'binary\.yaml'.*text file"):
        load_config("binary.yaml")
    with pytest.raises(SegkitError, match=r"^bad\.yaml:2: not YAML"):
        load_config(write("bad.yaml", "a: 1\n b: ]"))
    with pytest.raises(SegkitError, match=r"^checkpoint: .*given the list"):
        load_config_dict([1])  # type: ignore[arg-type]
    with pytest.raises(SegkitError, match=r"^model\.backbone\.widht \(model\.pth\): TinyNet .*'width'"):
        load_config_dict({"model": {"name": "Detector", "backbone": {"name": "TinyNet", "widht": 3}}}, "model.pth")


def test_arguments_that_yaml_cannot_hold_stay_with_the_constructor(load):
    cfg = load("", "model.backbone={name: BigNet, depth: 3}")
    assert "act" not in cfg.model.backbone
    with pytest.raises(SegkitError, match=r"model\.backbone\.act .*expected type"):
        load("", "model.backbone={name: BigNet, depth: 3, act: ReLU}")


def test_a_component_in_a_slot_takes_part_of_the_default(load):
    assert load("", "model.neck.norm=gn").model.neck == {"name": "FPN", "out_channels": 64, "norm": "gn"}
    assert load("", "model.neck={name: FPN}").model.neck.out_channels == 256


def test_specs_are_specs(load):
    cfg = load()
    assert isinstance(cfg.model.backbone, Spec) and isinstance(cfg.data.train_transforms[1], Spec)
    assert cfg.data.train_transforms[1].sizes == (800,)


def test_a_removed_argument_says_what_replaces_it():
    with pytest.raises(
        SegkitError, match=r"load_config_dict\(\) has no 'with_bases' any more; saved=False reads _BASE_"
    ):
        load_config_dict({}, with_bases=True)
