"""Every configuration that comes with segkit loads, builds at full size, and takes a training step at reduced size."""

from pathlib import Path

import pytest
import torch

import segkit
from segkit.modeling.weights.loading import skip_pretrained
from segkit.structures import InstanceMasks, Targets

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RUNS = sorted(
    p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob("*.yaml") if not p.name.startswith(("_", "study"))
)
RUNS = [name for name in RUNS if not name.startswith("_base_")]
STUDY = [name for name in RUNS if name.startswith("cells/") and "nuclei" not in name]


@pytest.mark.parametrize("name", RUNS)
def test_builds_at_full_size(name):
    """On the meta device: shapes without memory."""
    cfg = segkit.load_config(f"segkit://{name}")
    with torch.device("meta"), skip_pretrained():
        model = segkit.build_model(cfg, num_classes=4)
    count = sum(p.numel() for p in model.parameters())
    assert count <= (cfg.train.max_parameters or 200_000_000)


@pytest.mark.parametrize("name", RUNS)
def test_round_trips(name, tmp_path):
    cfg = segkit.load_config(f"segkit://{name}")
    saved = tmp_path / "config.yaml"
    saved.write_text(cfg.to_yaml())
    assert segkit.load_config(str(saved)).to_dict() == cfg.to_dict()


SMALLER = {
    "ConvNeXt": {"arch": "atto"},
    "EfficientNetV2": {"arch": "s"},
    "ResNet": {"arch": 18},
}


@pytest.mark.parametrize("name", RUNS)
def test_takes_a_step_at_reduced_size(name):
    """The same parts, with the family's smallest backbone, few proposals and a small image."""
    cfg = segkit.load_config(f"segkit://{name}")
    overrides = ["model.proposal_generator.post_nms_top_k=[20, 20]"]
    roi_heads = cfg.model.get("roi_heads", {})
    overrides += ["model.roi_heads.batch_size_per_image=16"] if roi_heads else []
    overrides += [f"model.roi_heads.box_heads.{i}.fc_dims=[64]" for i in range(len(roi_heads.get("box_heads", ())))]
    smaller = SMALLER.get(cfg.model.backbone.name, {})
    overrides += [f"model.backbone.{key}={value}" for key, value in smaller.items()]
    if cfg.model.backbone.get("stride_in_1x1"):
        overrides.append("model.backbone.stride_in_1x1=false")  # the small ones have no 1x1
    with skip_pretrained():
        model = segkit.build_model(cfg.with_overrides(overrides), num_classes=4).train()
    masks = torch.zeros(2, 96, 128, dtype=torch.bool)
    masks[0, 10:40, 20:60] = True
    masks[1, 50:90, 70:110] = True
    instances = InstanceMasks.from_dense(masks)
    targets = Targets(instances.boxes(), torch.tensor([1, 3]), instances)
    losses = model.losses([torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)], [targets])
    torch.stack(list(losses.values())).sum().backward()
    for key, parameter in model.named_parameters():
        frozen = not parameter.requires_grad
        assert frozen == (parameter.grad is None), key


@pytest.mark.parametrize("name", STUDY)
def test_the_study_keeps_its_recipe(name):
    cfg = segkit.load_config(f"segkit://{name}")
    assert (
        cfg.data.batch_size == 4 and cfg.train.epochs == 20 and cfg.train.precision == "fp16" and cfg.train.seed == 42
    )
    assert (cfg.solver.optimizer.name, cfg.solver.optimizer.lr, cfg.solver.optimizer.weight_decay) == (
        "AdamW",
        1e-4,
        1e-2,
    )
    assert (cfg.solver.schedule.name, cfg.solver.schedule.end_lr, cfg.solver.schedule.step) == ("Cosine", 1e-6, "epoch")
    assert cfg.solver.clip_norm == 1.0 and cfg.data.val.from_train == 0.1
    names = [t.name for t in cfg.data.train_transforms]
    assert names == ["RandomHorizontalFlip", "RandomVerticalFlip", "ResizeShortestEdge"]
    resize = cfg.data.train_transforms[2]
    assert (list(resize.sizes), resize.max_size) == (([400], 1000) if "400_1000" in name else ([800], 1333))
    assert cfg.predict.score_threshold == (0.7 if "0.7" in name else 0.5)
    assert cfg.model.roi_heads.score_threshold == 0.05
    assert cfg.with_overrides(["data.val=null"]).data.val is None


@pytest.mark.parametrize("layers, children", [(5, 3), (3, 5)])
@pytest.mark.parametrize("family", ["convnext_base", "efficientnet_v2_m"])
def test_the_study_freezes_children(family, layers, children):
    cfg = segkit.load_config(f"segkit://cells/{family}_{layers}.yaml")
    with torch.device("meta"), skip_pretrained():
        backbone = segkit.build_model(cfg, num_classes=4).backbone
    for name, parameter in backbone.named_parameters():
        parts = name.split(".")
        frozen = parts[0] == "features" and int(parts[1]) < children
        assert parameter.requires_grad == (not frozen), name


def test_resnet50_starts_from_coco():
    cfg = segkit.load_config("segkit://cells/resnet50_coco.yaml")
    assert cfg.model.backbone.name == "ResNet" and cfg.model.backbone.norm == "frozen_bn"
    assert cfg.train.init_weights == "MaskRCNN_ResNet50_FPN_Weights.COCO_V1"
