"""The device and the precision that a run chooses."""

import pytest
import torch

from segkit.engine.amp import autocast
from segkit.utils.device import check_precision, choose_device
from segkit.utils.errors import SegkitError


def test_precision():
    cpu = torch.device("cpu")
    check_precision("fp32", cpu)
    check_precision("bf16", cpu)
    with pytest.raises(SegkitError, match=r"train.precision.*fp16.*train.precision=fp32"):
        check_precision("fp16", cpu)
    with pytest.raises(SegkitError, match=r"fp32, bf16 or fp16"):
        check_precision("fp8", cpu)
    with autocast("bf16", cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast("fp32", cpu):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_device():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type in ("cpu", "cuda")
    with pytest.raises(SegkitError, match=r"train.device: 'gpu' is not a device"):
        choose_device("gpu")
    with pytest.raises(SegkitError, match=r"train.device: 'cuda:99'"):
        choose_device("cuda:99")
