"""Small detectors of each kind and a batch for them."""

import torch

import segkit
from segkit.structures import InstanceMasks, Targets

STAGES = [
    {"name": "FastRCNNHead", "fc_dims": [32], "class_agnostic": True, "box_weights": [10 * i, 10 * i, 5 * i, 5 * i]}
    for i in (1, 2, 3)
]
BOX, MASK = {"name": "FastRCNNHead", "fc_dims": [32]}, {"name": "FCNMaskHead", "conv_dims": [16]}
STANDARD = {
    "name": "StandardROIHeads",
    "box_head": BOX,
    "mask_head": None,
    "score_threshold": 0.0,
    "batch_size_per_image": 64,
}
CASCADE = {
    "name": "CascadeROIHeads",
    "box_heads": STAGES,
    "mask_head": MASK,
    "score_threshold": 0.0,
    "batch_size_per_image": 64,
}
ONE_BOX = {**BOX, "class_agnostic": True}
GIOU = {**BOX, "box_loss": "giou", "box_loss_weight": 10.0}
# RoI heads, box loss of the proposals, and the losses that come of them.
MODELS = {
    "faster": (STANDARD, "smooth_l1", ["cls", "box"]),
    "giou": ({**STANDARD, "box_head": GIOU}, "giou", ["cls", "box"]),
    "class-agnostic": ({**STANDARD, "box_head": ONE_BOX, "mask_head": MASK}, "smooth_l1", ["cls", "box", "mask"]),
    "cascade": (CASCADE, "smooth_l1", [f"{k}_stage{i}" for i in (1, 2, 3) for k in ("cls", "box")] + ["mask"]),
    "cascade boxes": (
        {**CASCADE, "mask_head": None},
        "giou",
        [f"{k}_stage{i}" for i in (1, 2, 3) for k in ("cls", "box")],
    ),
    "proposals": (None, "smooth_l1", []),
}


def build(name):
    roi_heads, box_loss, _ = MODELS[name]
    generator = {
        "name": "RPN",
        "anchor_generator": {"name": "AnchorGenerator", "sizes": [[8], [16], [32], [64], [128]]},
        "head": {"name": "RPNHead"},
        "pre_nms_top_k": [100, 100],
        "post_nms_top_k": [50, 40],
        "box_loss": box_loss,
    }
    model = {
        "name": "GeneralizedRCNN" if roi_heads else "ProposalNetwork",
        "backbone": {"name": "TinyNet", "width": 8},
        "neck": {"name": "FPN", "out_channels": 16},
        "proposal_generator": generator,
        **({"roi_heads": roi_heads} if roi_heads else {"detections_per_image": 30}),
    }
    torch.manual_seed(0)
    cfg = segkit.load_config("segkit://quickstart.yaml")
    return segkit.build_model(cfg.with_values({"model": model}), num_classes=3)


def batch():
    generator = torch.Generator().manual_seed(0)
    dense = torch.zeros(2, 64, 64, dtype=torch.bool)
    dense[0, 5:30, 10:40] = True
    dense[1, 36:60, 30:50] = True
    image = torch.randint(0, 60, (3, 64, 64), dtype=torch.uint8, generator=generator)
    image[:, dense.any(dim=0)] += 150
    masks = InstanceMasks.from_dense(dense)
    return [image, image[:, :40]], [Targets(masks.boxes(), torch.tensor([0, 2]), masks), Targets.empty((40, 64))]
