"""Mutated configurations: loaded, written, and everything built that needs no data."""

import random
from pathlib import Path

import torch
from config_mutations import NASTY, dumped, examples, gentle_tree, mutated_overrides, mutated_tree
from mutations import mutated_bytes, mutated_text

from segkit.config import load_config
from segkit.data import build_transforms
from segkit.engine.parameters import build_optimizer, freeze
from segkit.modeling.build import build_model
from segkit.modeling.weights.reading import skip_pretrained
from segkit.registry import DATASET_FORMAT_REGISTRY, EVALUATOR_REGISTRY, HOOK_REGISTRY, SCHEDULE_REGISTRY
from segkit.utils.errors import SegkitError


def try_config(seed, folder):
    """Loads a mutated configuration and builds its components; returns whether it is accepted."""
    draw = random.Random(seed)
    base, kind = Path(folder) / "b.yaml", draw.random()
    if kind < 0.4:
        text = dumped(gentle_tree(draw))
    elif kind < 0.7:
        text = dumped(mutated_tree(draw))
    elif kind < 0.8:
        text = mutated_text(draw.choice(examples()[1]), draw, NASTY)
    else:
        text = dumped(draw.choice(examples()[0]))  # only its overrides, or its base file, are odd
        text += "\n_BASE_: b.yaml\n" * (kind > 0.95)
    base.write_bytes(
        mutated_bytes(mutated_text(draw.choice(examples()[1]), draw, NASTY), draw) if kind > 0.9 else b"{}"
    )
    path = Path(folder) / "c.yaml"
    path.write_bytes(mutated_bytes(text, draw))
    overrides = mutated_overrides(draw) if 0.4 < kind < 0.95 and (draw.random() < 0.25 or kind > 0.8) else []
    try:
        cfg = load_config(path, overrides)
        again = Path(folder) / "again.yaml"
        again.write_text(cfg.to_yaml(), encoding="utf-8")
        assert load_config(again).to_yaml() == cfg.to_yaml()
        build_all(cfg)
    except SegkitError as error:
        assert str(error)
        return False
    return True


def build_all(cfg):
    """Builds what a run builds before it reads data; the model on the meta device."""
    build_transforms(cfg.data.train_transforms, path="data.train_transforms")
    build_transforms(cfg.data.test_transforms, path="data.test_transforms")
    for part in (cfg.data.train, cfg.data.val):
        if getattr(part, "format", None) == "synthetic":
            DATASET_FORMAT_REGISTRY.build(part, path="data")
    cfg.train.total_iterations(100)
    SCHEDULE_REGISTRY.build(cfg.solver.schedule, path="solver.schedule")
    for i, spec in enumerate(cfg.hooks):
        HOOK_REGISTRY.build(spec, path=f"hooks[{i}]", period=cfg.train.log_period)
    classes = list(cfg.data.classes or ["a", "b", "c"])
    with skip_pretrained(), torch.device("meta"):
        model = build_model(cfg, len(classes))
        freeze(model, cfg.solver.parameters)
        build_optimizer(cfg, model)
    runtime = {
        "classes": classes,
        "category_ids": list(range(len(classes))),
        "max_detections": model.detections_per_image,
    }
    runtime |= {"results_dir": cfg.output_dir, "class_agnostic": False, "predicts_masks": True}
    for i, spec in enumerate(cfg.evaluators):
        EVALUATOR_REGISTRY.build(spec, path=f"evaluators[{i}]", **runtime)
