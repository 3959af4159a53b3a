"""A model small enough to be measured in a second, with an equal in torchvision."""

import pytest

TINY = """
_BASE_: segkit://coco/torchvision_mask_rcnn_r50_fpn.yaml
model:
  backbone: {arch: 18, out_stages: [stage1, stage2], trainable_stages: 2}
  neck: {out_channels: 16}
  proposal_generator:
    anchor_generator: {sizes: [[32], [64], [128]]}
    pre_nms_top_k: [100, 100]
    post_nms_top_k: [100, 50]
  roi_heads:
    batch_size_per_image: 32
    box_head: {levels: [p2, p3], fc_dims: [32, 32]}
    mask_head: {levels: [p2, p3], conv_dims: [16]}
"""


@pytest.fixture
def tiny(tmp_path):
    """Path of the configuration."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)
