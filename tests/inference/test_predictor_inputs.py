"""Inputs of a Predictor beyond files: BGR, arrays that are not in memory, batches by memory, threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tifffile
import torch

import segkit
from segkit.inference.batch_size import FittingBatchSize, in_parts
from segkit.utils.errors import SegkitError


@pytest.fixture(scope="module")
def cfg():
    return segkit.load_config(
        "segkit://quickstart.yaml",
        ["data.classes=[a, b]", "model.roi_heads.score_threshold=0.1", "predict.score_threshold=0.1"],
    )


@pytest.fixture(scope="module")
def model(cfg):
    torch.manual_seed(0)
    return segkit.build_model(cfg, 2).eval()


@pytest.fixture(scope="module")
def predictor(cfg, model):
    return segkit.Predictor(cfg, model=model)


def same(one, other):
    return (
        torch.equal(one.boxes, other.boxes)
        and torch.equal(one.scores, other.scores)
        and torch.equal(one.masks.bits, other.masks.bits)
    )


def random_image(dtype=np.uint8, size=(64, 96, 3), seed=0):
    random = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return random.random(size).astype(dtype)
    return random.integers(0, np.iinfo(dtype).max, size).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_array_is_predicted_as_its_file(predictor, tmp_path, dtype):
    image = random_image(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
    assert same(predictor(image), predictor(tmp_path / "a.tif"))
    assert same(
        predictor(torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)), predictor(image.astype(np.float32))
    )


def test_bgr(cfg, model, predictor, tmp_path):
    image = random_image()
    bgr = segkit.Predictor(cfg, model=model, channel_order="bgr")
    expected = predictor(image)
    assert same(bgr(image[:, :, ::-1]), expected)
    assert same(bgr(torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)), expected)
    assert same(
        bgr(np.concatenate([image[:, :, ::-1], image[:, :, :1]], 2)), expected
    )  # alpha stays behind the colours
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
    assert same(bgr(tmp_path / "a.tif"), expected)
    assert same(bgr(image[:, :, 0]), predictor(image[:, :, 0]))
    with pytest.raises(SegkitError, match="expected rgb or bgr, not 'brg'"):
        segkit.Predictor(cfg, model=model, channel_order="brg")


class Store:
    """An array that is not in memory, as of Zarr or dask; keeps what was read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim
        self.windows = []

    def __getitem__(self, index):
        self.windows.append(index)
        return self.array[index]

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(64, 96, 3), (64, 96)])
def test_arrays_that_are_not_in_memory(cfg, model, predictor, dtype, size):
    image = random_image(dtype, size)
    assert same(predictor(Store(image)), predictor(image))
    assert [same(one, predictor(image)) for one in predictor([Store(image), image])] == [True, True]
    tiled = segkit.Predictor(cfg.with_overrides(["predict.tile=48", "predict.overlap=16"]), model=model)
    store = Store(image)
    assert same(tiled(store), tiled(image))
    sides = [rows.stop - rows.start for rows, _ in store.windows if rows.stop - rows.start > 1]
    if dtype == np.uint8:
        assert max(sides) == 48  # never the whole image


def test_zarr_and_dask(cfg, model, predictor):
    zarr = pytest.importorskip("zarr")
    image = random_image()
    array = zarr.array(image, chunks=(32, 32, 3))
    assert same(predictor(array), predictor(image))
    tiled = segkit.Predictor(cfg.with_overrides(["predict.tile=48", "predict.overlap=16"]), model=model)
    assert same(tiled(array), tiled(image))
    dask = pytest.importorskip("dask.array")
    assert same(tiled(dask.from_array(image, chunks=32)), tiled(image))


def test_a_store_that_cannot_be_read(cfg, model):
    class Broken(Store):
        def __getitem__(self, index):
            raise OSError("the bucket is gone")

    tiled = segkit.Predictor(cfg.with_overrides(["predict.tile=48"]), model=model)
    with pytest.raises(SegkitError, match=r"window 0,0,1,1 of an array \(Broken\) cannot be read: the bucket is gone"):
        tiled(Broken(random_image()))
    with pytest.raises(SegkitError, match=r"shape \[3, 64, 96\] is not an image.*transpose"):
        tiled(Store(random_image().transpose(2, 0, 1)))


def test_threads_share_a_predictor(predictor):
    """All start at once, and each has the answer of a single thread."""
    images = [random_image(seed=i, size=(48 + 8 * (i % 3), 64, 3)) for i in range(12)]
    expected = [predictor(image) for image in images]
    gradients, barrier, found = torch.is_grad_enabled(), threading.Barrier(4), {}

    def work(first):
        barrier.wait()
        for i in range(first, 12, 4):
            found[i] = predictor(images[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(found[i], expected[i]) for i in range(12))
    assert torch.is_grad_enabled() == gradients


def test_batches_that_are_too_large_are_halved():
    calls = []

    def predict(items):
        calls.append(len(items))
        if len(items) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return list(items)

    assert in_parts(predict, list(range(7))) == list(range(7)) and max(calls[2:]) <= 4
    with pytest.raises(RuntimeError, match="out of memory"):
        in_parts(lambda items: predict([1, 2, 3]), [1])
    with pytest.raises(RuntimeError, match="another"):
        in_parts(lambda items: (_ for _ in ()).throw(RuntimeError("another error")), [1, 2])


def test_automatic_batches(predictor):
    images = [random_image(seed=i) for i in range(3)]
    one_by_one = predictor(images)
    assert all(same(a, b) for a, b in zip(predictor(images, batch_size="auto"), one_by_one, strict=True))
    assert FittingBatchSize(torch.device("cpu")).size == 1
    with pytest.raises(SegkitError, match="or auto, not 'automatic'"):
        predictor(images, batch_size="automatic")


def test_automatic_batches_of_a_gpu(monkeypatch):
    """By a fake of CUDA's counters: an image takes 1 GiB, 10 GiB are free."""
    gib = 1 << 30
    fakes = {
        "reset_peak_memory_stats": lambda device: None,
        "memory_allocated": lambda device: gib,
        "max_memory_allocated": lambda device: 2 * gib,
        "memory_reserved": lambda device: gib,
        "mem_get_info": lambda device: (10 * gib, 80 * gib),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    fitting = FittingBatchSize(torch.device("cuda"))
    assert fitting.measured(lambda: "found") == "found" and fitting.size == 7


def test_warmup(predictor):
    assert predictor.warmup((64, 64), batch_size=2, repeats=1) > 0


def test_stream(predictor, tmp_path):
    paths = []
    for i in range(5):
        paths.append(tmp_path / f"{i}.tif")
        tifffile.imwrite(paths[-1], random_image(seed=i), photometric="rgb")
    found = list(predictor.stream(paths, readers=3))
    assert [image.file for image in found] == paths
    assert all(same(image.detections, predictor(path)) for image, path in zip(found, paths, strict=True))
    paths[2].write_bytes(b"no image")
    assert len(list(predictor.stream(paths, skip_unreadable=True))) == 4
    with pytest.raises(SegkitError, match=r"2\.tif"):
        list(predictor.stream(paths, readers=0))
