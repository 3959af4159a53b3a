"""Detectors other than Mask R-CNN, from the same builder, train and predict."""

import pytest
import torch
from detectors import MODELS, batch, build


@pytest.mark.parametrize("name", MODELS)
def test_trains_and_predicts(name):
    model, (images, targets) = build(name).train(), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    totals = []
    for _ in range(6):
        losses = model.losses(images, targets)
        assert list(losses) == ["rpn_cls", "rpn_box", *MODELS[name][2]]
        totals.append(torch.stack(list(losses.values())).sum())
        optimizer.zero_grad()
        totals[-1].backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
    assert totals[-1] < 0.9 * totals[0]
    plain = model.eval().predict(images)
    scaled = model.predict(images, output_sizes=[(128, 128), (40, 64)])
    for image, found in zip(images, plain, strict=True):
        assert 0 < len(found) <= model.detections_per_image and found.size == tuple(image.shape[1:])
        assert (found.scores.diff() <= 0).all() and (found.scores >= 0).all() and (found.scores <= 1).all()
        assert (found.boxes >= 0).all() and (found.boxes[:, 2:] <= torch.tensor([64, image.shape[1]])).all()
        assert (found.labels < 3).all() and (found.mask_probs is not None) == ("mask" in MODELS[name][2])
    torch.testing.assert_close(scaled[0].boxes, plain[0].boxes * 2)


@pytest.mark.parametrize("name", ["cascade", "proposals"])
def test_losses_with_a_generator_do_not_depend_on_global_randomness(name):
    model, (images, targets) = build(name).eval(), batch()
    before = torch.random.get_rng_state()
    first = model.losses(images, targets, torch.Generator().manual_seed(4))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(123)
    again = model.losses(images, targets, torch.Generator().manual_seed(4))
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", ["giou", "cascade", "proposals"])
def test_geometry_is_fp32_under_autocast(name):
    model, (images, targets) = build(name).eval(), batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, found = model.losses(images, targets), model.predict(images)
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    assert all(d.boxes.dtype == d.scores.dtype == torch.float32 for d in found)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODELS)
def test_on_a_gpu(name):
    model, (images, targets) = build(name).cuda().train(), batch()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        losses = model.losses(images, targets)
        torch.stack(list(losses.values())).sum().backward()
        found = model.eval().predict(images)
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    assert all(d.boxes.is_cuda and d.boxes.dtype == torch.float32 for d in found)
