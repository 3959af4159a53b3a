"""The whole model: modes, randomness, batching, padding, edge cases, and precision under autocast."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import segkit
from segkit.modeling.backbones import TinyNet
from segkit.structures import ImageBatch, InstanceMasks, Targets
from segkit.utils.errors import SegkitError


@pytest.fixture
def model():
    torch.manual_seed(0)
    return segkit.mask_rcnn(
        TinyNet(width=8),
        num_classes=3,
        fpn_channels=16,
        anchor_sizes=((8,), (16,), (32,), (64,), (128,)),
        mask_conv_dims=(16,),
        fc_dims=(32,),
        score_threshold=0.0,
        detections_per_image=20,
    )


def image(height=64, width=96):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(height))


def targets(height=64, width=96):
    dense = torch.zeros(3, height, width, dtype=torch.bool)
    dense[0, 5:30, 10:40] = True
    dense[1, 40:41, 60:61] = True  # one pixel
    dense[2] = True  # the full image
    masks = InstanceMasks.from_dense(dense)
    return Targets(masks.boxes(), torch.tensor([0, 1, 2]), masks)


def total(losses):
    return torch.stack(list(losses.values())).sum()


def test_losses_with_a_generator_do_not_depend_on_mode_or_global_randomness(model):
    model.eval()  # batch statistics would differ
    first = model.losses([image()], [targets()], torch.Generator().manual_seed(4))
    before = torch.random.get_rng_state()
    for module in model.modules():
        module.training = not isinstance(module, torch.nn.BatchNorm2d)
    torch.manual_seed(123)
    again = model.losses([image()], [targets()], torch.Generator().manual_seed(4))
    assert first.keys() == {"rpn_cls", "rpn_box", "cls", "box", "mask"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    torch.random.set_rng_state(before)
    model.losses([image()], [targets()], torch.Generator().manual_seed(4))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_parameter_gets_a_gradient(model):
    total(model.train().losses([image(), image(80, 50)], [targets(), targets(80, 50)])).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing


class UnknownSizes(TorchDispatchMode):
    """Counts the operations whose results' sizes a GPU would have to be waited for."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        aten = torch.ops.aten
        bools = function.overloadpacket is aten.index and any(i is not None and i.dtype == torch.bool for i in args[1])
        self.count += bools or function.overloadpacket in (aten.nonzero, aten.masked_select)
        return function(*args, **(kwargs or {}))


def test_few_waits_an_image(model):
    """Anchors' and proposals' positives and negatives, and the usable proposals."""
    counts = []
    for number in (1, 3):
        with UnknownSizes() as waits:
            model.losses([image()] * number, [targets()] * number)
        counts.append(waits.count)
    assert counts[1] - counts[0] == 2 * 5


def test_call_is_losses_or_predict_by_mode(model):
    assert isinstance(model.train()([image()], [targets()]), dict)
    assert isinstance(model.eval()([image()]), list)
    with pytest.raises(SegkitError, match="needs targets"):
        model.train()([image()])


def test_uint8_float_and_batch_are_one(model):
    model.eval()
    whole = model.predict([image()])[0]
    for same in ([image().float() / 255], ImageBatch.from_images([image()])):
        other = model.predict(same)[0]
        torch.testing.assert_close(other.boxes, whole.boxes, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(other.mask_probs, whole.mask_probs, atol=1e-4, rtol=1e-4)


def test_padding_by_a_larger_neighbour_changes_only_the_border(model):
    """Boxes of the padded image never leave the image itself."""
    model.eval()
    small, _ = model.predict([image(64, 96), image(128, 160)])
    assert small.size == (64, 96)
    assert (small.boxes[:, 2] <= 96).all() and (small.boxes[:, 3] <= 64).all()


def test_output_sizes(model):
    model.eval()
    plain = model.predict([image()])[0]
    scaled = model.predict([image()], output_sizes=[(128, 288)])[0]
    assert scaled.size == (128, 288) and scaled.masks.image_size == (128, 288)
    torch.testing.assert_close(scaled.boxes, plain.boxes * torch.tensor([3.0, 2.0, 3.0, 2.0]))
    torch.testing.assert_close(scaled.mask_probs, plain.mask_probs)
    with pytest.raises(SegkitError, match="2 output sizes for 1 images"):
        model.predict([image()], output_sizes=[(1, 1), (2, 2)])


def test_images_without_objects_and_crowds_train(model):
    crowd = targets()
    crowd.crowd[2] = True
    for one in (Targets.empty((64, 96)), crowd):
        losses = model.losses([image()], [one])
        assert all(torch.isfinite(loss) for loss in losses.values())
        total(losses).backward()


def test_boxes_without_area_are_survived(model):
    masks = InstanceMasks.from_dense(torch.zeros(1, 64, 96, dtype=torch.bool))
    degenerate = Targets(torch.tensor([[10.0, 10.0, 10.0, 20.0]]), torch.tensor([0]), masks)
    assert all(torch.isfinite(loss) for loss in model.losses([image()], [degenerate]).values())


def test_a_thousand_objects(model):
    label_map = torch.arange(1, 1025).reshape(32, 32).repeat_interleave(4, 0).repeat_interleave(4, 1)
    masks = InstanceMasks.from_label_map(label_map)
    many = Targets(masks.boxes(), torch.arange(1024) % 3, masks)
    loss = total(model.losses([image(128, 128)], [many]))
    assert torch.isfinite(loss)
    loss.backward()


def test_geometry_is_fp32_under_autocast(model):
    model.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        detections = model.predict([image(96, 1216)])[0]
        losses = model.losses([image()], [targets()])
    assert detections.boxes.dtype == detections.scores.dtype == torch.float32
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    # Corners in bf16 would all be multiples of 4 beyond 512.
    far = detections.boxes[detections.boxes[:, 2] > 600, 2]
    far = far[far < 1216]
    assert len(far) > 0 and (far % 4).abs().max() > 0


@pytest.mark.parametrize(
    "images, message",
    [
        ([], "no images"),
        ([torch.zeros(64, 64)], r"images\[0\].*\[64, 64\]"),
        ([torch.zeros(1, 64, 64)], r"\[3, H, W\]"),
        ([torch.zeros(3, 64, 64, dtype=torch.int32)], "int32"),
        (["a.png"], "str"),
    ],
)
def test_wrong_images(model, images, message):
    with pytest.raises(SegkitError, match=message):
        model.predict(images)


def test_wrong_targets(model):
    with pytest.raises(SegkitError, match="1 targets for 2 images"):
        model.losses([image(), image()], [targets()])
    for bad in (-1, 3):
        wrong = targets()
        wrong.labels[1] = bad
        with pytest.raises(SegkitError, match="0-based"):
            model.losses([image()], [wrong])
    with pytest.raises(SegkitError, match=r"targets\[0\].*\(64, 96\).*\(32, 32\)"):
        model.losses([image(32, 32)], [targets()])
