"""The whole model on a CUDA device: the study's fp16 with a scaler, odd images, and the CPU's losses."""

import pytest
import torch

import segkit
from segkit.modeling.backbones import TinyNet
from segkit.structures import InstanceMasks, Targets

pytestmark = pytest.mark.gpu


def make_model():
    torch.manual_seed(0)
    return segkit.mask_rcnn(
        TinyNet(), num_classes=3, fpn_channels=32, mask_conv_dims=(32,), fc_dims=(64,), score_threshold=0.0
    )


def make_batch():
    """300 objects, one of them a crowd; and an image without any."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, 256, 320), dtype=torch.uint8, generator=generator) for _ in range(2)]
    label_map = torch.arange(1, 301).reshape(15, 20).repeat_interleave(16, 0).repeat_interleave(16, 1)
    masks = InstanceMasks.from_label_map(torch.nn.functional.pad(label_map, (0, 0, 0, 16)))
    crowd = torch.zeros(300, dtype=torch.bool)
    crowd[7] = True
    return images, [Targets(masks.boxes(), torch.arange(300) % 3, masks, crowd), Targets.empty((256, 320))]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_trains_and_predicts_under_autocast(dtype):
    model, (images, targets) = make_model().cuda().train(), make_batch()
    scaler = torch.amp.GradScaler("cuda", enabled=dtype == torch.float16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(3):
        with torch.autocast("cuda", dtype=dtype):
            losses = model.losses(images, targets, torch.Generator("cuda").manual_seed(0))
        assert all(torch.isfinite(loss) and loss.dtype == torch.float32 for loss in losses.values())
        optimizer.zero_grad()
        scaler.scale(torch.stack(list(losses.values())).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    model.eval()
    with torch.autocast("cuda", dtype=dtype):
        detections = model.predict(images, output_sizes=[(512, 640), (256, 320)])
    assert all(d.boxes.dtype == torch.float32 and len(d.to_rle()) == len(d) for d in detections)


def test_features_and_proposals_equal_the_cpus():
    """Only deterministic results are compared, since the sampled losses use another generator there."""
    model, (images, _) = make_model().eval(), make_batch()
    with torch.no_grad():
        on_cpu = model.proposal_generator(model.features(model.preprocess(images).tensor))
        model.cuda()
        torch.backends.cudnn.allow_tf32 = False
        on_gpu = model.proposal_generator(model.features(model.preprocess(images).tensor))
    for cpu, gpu in zip(on_cpu.objectness, on_gpu.objectness, strict=True):
        torch.testing.assert_close(gpu.cpu(), cpu, atol=1e-3, rtol=1e-3)
    for cpu, gpu in zip(on_cpu.anchors, on_gpu.anchors, strict=True):
        assert torch.equal(gpu.cpu(), cpu)
