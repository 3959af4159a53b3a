"""Training on 1,500 objects in an image takes little more memory than on 100 objects."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import segkit
from segkit.modeling.backbones import TinyNet
from segkit.modeling.layers.matching import match_boxes
from segkit.structures import InstanceMasks, Targets


class Allocations(TorchDispatchMode):
    """Records the bytes of each tensor that an operation of the step returns, forward and backward."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, torch.Tensor):
                self.sizes.append(value.numel() * value.element_size())
        return result


def objects(count, size):
    """Squares of 6 pixels."""
    generator = torch.Generator().manual_seed(count)
    corners = torch.randint(0, size - 6, (count, 2), generator=generator)
    crop_boxes = torch.cat([corners, corners + 6], 1)
    masks = InstanceMasks(torch.ones(36 * count, dtype=torch.uint8), crop_boxes, (size, size))
    return Targets(masks.boxes(), torch.zeros(count, dtype=torch.long), masks)


def largest_of_a_step(model, count):
    image = torch.zeros(3, 128, 128, dtype=torch.uint8)
    with Allocations() as mode:
        sum(model.losses([image], [objects(count, 128)]).values()).backward()
    return max(mode.sizes)


def test_no_table_of_anchors_by_objects(monkeypatch):
    model = segkit.mask_rcnn(TinyNet(width=8), num_classes=1, fpn_channels=16, mask_conv_dims=(8,), fc_dims=(16,))
    whole = largest_of_a_step(model, 1500)
    monkeypatch.setitem(match_boxes.__kwdefaults__, "max_pairs", 1 << 16)
    few, many = largest_of_a_step(model, 100), largest_of_a_step(model, 1500)
    assert many <= few * 1.01
    assert whole > 2 * many  # what chunks of the usual size hold: the test would see a table
    assert whole <= 4 * (1 << 21)
