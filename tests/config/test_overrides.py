from __future__ import annotations

import pytest

from segkit.config import SplitConfig
from segkit.config.detectron2_names import DETECTRON2_NAMES
from segkit.config.overrides import parse_overrides
from segkit.utils.errors import SegkitError


def plain(words):
    return [(key, node.plain()) for key, node in parse_overrides(words)]


def test_both_forms_mix_and_values_are_yaml():
    words = [
        "a.b",
        "3",
        "c=1e-4",
        "d",
        "[1, 2]",
        "e={name: FPN}",
        "f=x=y",
        "g",
        "h=1",
        "i=null",
        "j='5'",
        "hooks[0].period=1",
    ]
    expected = [("a.b", 3), ("c", 1e-4), ("d", [1, 2]), ("e", {"name": "FPN"}), ("f", "x=y"), ("g", "h=1"), ("i", None),
                ("j", "5"), ("hooks.0.period", 1)]  # fmt: skip
    assert plain(words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.b"], r"^a\.b \(command line\): .*no value.*KEY VALUE or KEY=VALUE$"),
        (["a.b", "1", "c"], r"^c \(command line\): has no value"),
        (["train.epochs", "solver.optimizer.lr=1"], r"^train\.epochs \(command line\): has no value: 'solver"),
        (["3", "4"], r"'3' \(command line\) is not a key"),
        (["--foo", "4"], r"'--foo' \(command line\) is not a key"),
        (["=4"], r"'=4' \(command line\) is not a key"),
        (["a="], r"^a \(command line\): its value is empty"),
        (["a", " "], r"^a \(command line\): its value is empty"),
        (["a=[1"], r"^a \(command line\): '\[1': not YAML: .*; a text may need quotes$"),
        (["a=*.png"], r"^a \(command line\): '\*\.png': not YAML"),
        (["a={b: 1, b: 2}"], r"'b' is given twice"),
    ],
)
def test_mistakes_in_form(words, message):
    with pytest.raises(SegkitError, match=message):
        parse_overrides(words)


def test_into_sections_specs_and_lists(load):
    text = "hooks: [{name: Report}, {name: Report, period: 2 epochs}]\n"
    cfg = load(text, "hooks.0.period=1 epoch", "hooks[1].text", "hi", "model.backbone.width=3", "data.batch_size", "2")
    assert cfg.hooks[0].period.to_plain() == "1 epoch" and cfg.hooks[1].text == "hi"
    assert cfg.hooks[1].period.to_plain() == "2 epochs"
    assert cfg.model.backbone.width == 3 and cfg.data.batch_size == 2
    assert cfg.origins["hooks.0.period"] == "command line" and cfg.origins["hooks.1.period"].startswith("run.yaml:")
    assert load("", "data.train_transforms.0.p=0.25").data.train_transforms[0].p == 0.25, "lists of the defaults too"
    assert load("", "hooks=[{name: Report}]").hooks[0].name == "Report"


def test_a_spec_with_a_name_replaces_the_old_one_and_a_mapping_without_is_merged(load):
    text = "solver: {optimizer: {name: AdamW, lr: 3.0, weight_decay: 0.5}}\n"
    assert load(text, "solver.optimizer={name: AdamW, lr: 1}").solver.optimizer.weight_decay == 0.0
    assert load(text, "solver.optimizer={lr: 1}").solver.optimizer.weight_decay == 0.5
    assert load(text, "solver={clip_norm: 1}").solver.optimizer.lr == 3.0
    assert load(text, "solver=null").solver.optimizer.lr == 3.0


@pytest.mark.parametrize("words", [["model.backbone.name=BigNet", "model.backbone.depth=3"],
                                   ["model.backbone.depth=3", "model.backbone.name=BigNet"]])  # fmt: skip
def test_a_changed_name_drops_inherited_arguments_but_not_those_of_the_same_command(load, words):
    base = "model: {name: Detector, backbone: {name: TinyNet, width: 4}}\ndata: {train: {format: coco, json: a, images: b}}\n"
    cfg = load("", *words, base=base)
    assert dict(cfg.model.backbone) == {"name": "BigNet", "depth": 3, "stages": ["a"]}
    assert load("", "model.backbone.name=TinyNet", base=base).model.backbone.width == 4, "the same name changes nothing"


def test_the_validation_set_changes_its_kind(load):
    text = "  val: {from_train: 0.1, seed: 3}\n"
    assert load(text).data.val == SplitConfig(from_train=0.1, seed=3)
    assert load(text, "data.val=null").data.val is None
    assert load(text, "data.val.from_train=0.2").data.val == SplitConfig(from_train=0.2, seed=3)
    assert load(text, "data.val={from_train: 0.3}").data.val.from_train == 0.3
    for words in (["data.val={format: label_map, root: x}"], ["data.val.format=label_map", "data.val.root=x"],
                  ["data.val.root=x", "data.val.format=label_map"]):  # fmt: skip
        assert load(text, *words).data.val == {"format": "label_map", "root": "x", "classes": None}
    text = "  val: {format: label_map, root: v}\n"
    assert load(text, "data.val.from_train=0.2").data.val == SplitConfig(from_train=0.2)
    assert load(text, "data.val={from_train: 0.2}").data.val == SplitConfig(from_train=0.2)
    assert load(text, "data.val.root=w").data.val.root == "w"
    assert load("", "data.val.from_train=0.2").data.val.seed == 42, "also over null"


def test_in_a_data_set_the_name_is_an_argument(load):
    text = "  val: {format: catalog, name: cells, limit: 3}\n"
    assert load(text, "data.val.name=other").data.val == {"format": "catalog", "name": "other", "limit": 3}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hooks.0.period=1"], r"^hooks\.0 \(command line\): hooks is a list.*empty$"),
        (["data.train_transforms.7.p=1"], r"its items are 0 to 1$"),
        (["data.train_transforms.Flip.p=1"], r"is a list"),
        (["train.seed.x=1"], r"^train\.seed\.x \(command line\): train\.seed \(default\)"),
        (["model.backbone.width.x=1"], r"model\.backbone\.width.*expected an integer, given the mapping"),
        (
            ["train.epochs=1", "train.iterations=5"],
            r"^train\.iterations .*train\.epochs \(command line\)",
        ),
        (["train.epochs=null"], r"one of train\.epochs and train\.iterations"),
        (["_BASE_=x.yaml"], r"^_BASE_ \(command line\): .*in a file"),
    ],
)
def test_mistakes_in_place(load, words, message):
    with pytest.raises(SegkitError, match=message):
        load("", *words)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("train.epoch=1", "'train.epochs'"),
        ("epochs=1", "'train.epochs'"),
        ("lr=1", "'solver.optimizer.lr'"),
        ("solver.lr=1", "'solver.optimizer.lr'"),
        ("tran.epochs=1", "'train.epochs'"),
        ("widht=1", "'model.backbone.width'"),
        ("solver.optimizr={lr: 1}", "'solver.optimizer"),
        ("data.trian={format: coco}", "did you mean 'data.train.format'?"),
        ("hoks=[]", "'hooks'"),
        ("zzzzz=1", "valid: data, evaluators, hooks"),
        ("SOLVER.BASE_LR=1", "'solver.optimizer.lr'"),
        ("SOLVER.MAX_ITER=1", "'train.iterations'"),
        ("SOLVER.IMS_PER_BATCH=1", "'data.batch_size'"),
        ("MODEL.WEIGHTS=x", "'train.init_weights'"),
        ("OUTPUT_DIR=x", "'output_dir'"),
        ("TEST.EVAL_PERIOD=1", "'train.eval_period'"),
        ("MODEL.ROI_HEADS.NUM_CLASSES=1", "'data.classes'"),
        ("BASE_LR=1", "'solver.optimizer.lr'"),
        ("INPUT.FORMAT=BGR", "; images are RGB"),
        ("SOLVER={BASE_LR: 1}", "'solver.optimizer.lr'"),
    ],
)
def test_unknown_keys_are_errors_with_the_nearest_key(load, word, hint):
    with pytest.raises(SegkitError) as caught:
        load("", word)
    text = str(caught.value)
    assert "(command line): there is no such key; " in text
    assert hint in text.split("no such key")[1]
    assert "\n" not in text


def test_detectron2_names_are_upper_case_paths():
    assert all(key == key.upper() for key in DETECTRON2_NAMES)
