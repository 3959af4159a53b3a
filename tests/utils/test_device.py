"""Devices by name: usable ones, and one message for others."""

import pytest
import torch

import segkit
from segkit.utils.device import check_precision, choose_device
from segkit.utils.errors import SegkitError
from segkit.utils.out_of_memory import is_out_of_memory


@pytest.mark.parametrize("name", ["cpu", "cpu:0", torch.device("cpu"), torch.device("cpu:0"), "auto", None])
def test_the_cpu(name):
    assert choose_device(name) == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "'cuda' was asked for, but torch .* sees 0 GPUs.*; expected auto or cpu; nearest: cpu"),
        ("cuda:7", "'cuda:7' was asked for"),
        (torch.device("cuda:1"), "'cuda:1' was asked for"),
        (0, "'0' was asked for"),
        ("foo", "'foo' is not a device; expected auto or cpu$"),
        ("gpu", "'gpu' is not a device; .*nearest: cpu"),
        ("0", "'0' is not a device; .*nearest: cpu"),
        ("CPU", "'CPU' is not a device; .*nearest: cpu"),
        ("cuda:-1", "'cuda:-1' is not a device"),
        ("", "'' is not a device"),
        (True, "'True' is not a device"),
        (1.5, "'1.5' is not a device"),
        ("mps", "'mps' cannot be used"),
        ("meta", "'meta' cannot be used"),
    ],
)
def test_unavailable_devices(name, message):
    with pytest.raises(SegkitError, match=f"^device: {message}"):
        choose_device(name, key="device")


@pytest.mark.parametrize(
    ("name", "near"), [("cuda:7", "cuda:1"), ("gpu", "cuda:0"), ("gpu:1", "cuda:1"), ("1", "cuda:1"), (5, "cuda:1")]
)
def test_the_nearest_of_two_gpus(name, near, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SegkitError, match=f"expected auto or cpu or cuda:0 or cuda:1; nearest: {near}$"):
        choose_device(name)
    assert choose_device("cuda:1") == choose_device(1) == torch.device("cuda:1")
    assert choose_device("auto") == torch.device("cuda")


@pytest.mark.parametrize("device", ["cuda", "foo", "meta", 3, torch.device("cuda:2")])
def test_the_predictor_checks_it_before_it_reads_the_weights(device):
    with pytest.raises(SegkitError, match=r"^device: "):
        segkit.Predictor("no_such_file.pth", device=device)


def test_precision_names_the_flag():
    with pytest.raises(SegkitError, match=r"^--precision: fp16 needs a CUDA GPU.*set --precision fp32"):
        check_precision("fp16", torch.device("cpu"), key="--precision")


def test_out_of_memory():
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value) and not is_out_of_memory(RuntimeError("shapes do not fit"))
