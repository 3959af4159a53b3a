import pytest
import torch
from torch import nn

from segkit.modeling.layers.class_conv import MAX_DENSE_CLASSES, ClassConv

COUNTS = [1, 2, MAX_DENSE_CLASSES, MAX_DENSE_CLASSES + 1, 80]


def both(classes, memory_format=torch.contiguous_format, boxes=7):
    """Outputs and gradients by input, weight and bias of the layer, and of a plain convolution with a choice after it."""
    torch.manual_seed(0)
    own, plain = ClassConv(6, classes), nn.Conv2d(6, classes, 1)
    plain.load_state_dict(own.state_dict())
    x = torch.randn(boxes, 6, 4, 5).contiguous(memory_format=memory_format)
    labels = torch.randint(classes, (boxes,)) if classes > 1 else torch.arange(boxes)  # one channel serves all classes
    slot = labels if classes > 1 else torch.zeros_like(labels)
    results = []
    for layer, run in ((own, lambda a: own(a, labels)), (plain, lambda a: plain(a)[torch.arange(boxes), slot])):
        given = x.clone(memory_format=torch.preserve_format).requires_grad_()
        output = run(given)
        output.sin().sum().backward()
        results.append((output, given.grad, layer.weight.grad, layer.bias.grad))
    return results


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("classes", COUNTS)
def test_each_sample_gets_its_class_with_the_gradients_of_the_plain_way(classes, memory_format):
    own, plain = both(classes, memory_format)
    assert own[0].shape == (7, 4, 5)
    for found, expected in zip(own, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("classes", COUNTS)
def test_no_boxes_have_gradients_too(classes):
    own, _ = both(classes, boxes=0)
    assert own[0].shape == (0, 4, 5) and not own[2].any() and own[2].shape == (classes, 6, 1, 1)


def test_many_classes_take_no_more_memory_than_the_input():
    largest = 0

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, (tuple, list)) else [result]:
                largest = max(largest, tensor.numel() if isinstance(tensor, torch.Tensor) else 0)
            return result

    layer = ClassConv(6, 300)
    x = torch.randn(20, 6, 9, 9, requires_grad=True)
    with Largest():
        layer(x, torch.randint(300, (20,))).sum().backward()
    assert largest == x.numel()
