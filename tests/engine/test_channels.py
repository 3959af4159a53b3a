"""Runs on images of several channels and 16 bits: what is checked, measured, saved and cached."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml

import segkit
from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.datasets import build_data, train_loader
from segkit.engine.run import evaluate_only, train
from segkit.inference import Predictor
from segkit.utils.errors import SegkitError

RNG = np.random.default_rng(0)
CONFIG = {
    "_BASE_": "segkit://quickstart.yaml",
    "data": {
        "channels": [1, 0],
        "test_transforms": [],
        "batch_size": 2,
        "num_workers": 0,
    },
    "model": {
        "backbone": {"in_channels": 2},
        "pixel_mean": [0.3, 0.3],
        "pixel_std": [0.2, 0.2],
        "proposal_generator": {"pre_nms_top_k": [50, 50], "post_nms_top_k": [20, 20]},
        "neck": {"out_channels": 16},
        "roi_heads": {
            "batch_size_per_image": 16,
            "detections_per_image": 5,
            "box_head": {"fc_dims": [32]},
            "mask_head": {"conv_dims": [8]},
        },
    },
    "solver": {"schedule": {"warmup_iterations": 1}},
    "train": {"iterations": 1, "checkpoint_period": 0},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    labels = np.zeros((48, 64), np.uint8)
    labels[8:24, 8:30], labels[28:44, 30:60] = 1, 2
    for i in range(3):
        (folder / str(i)).mkdir()
        pixels = RNG.integers(100, 400, (48, 64, 3)) + (labels > 0)[..., None] * np.array([3000, 500, 9000])
        tifffile.imwrite(
            folder / str(i) / "image.tif", pixels.astype(np.uint16), photometric="minisblack", planarconfig="contig"
        )
        tifffile.imwrite(folder / str(i) / "class1.tif", labels)
    return folder


def config(root, tmp_path, *overrides):
    spec = {"format": "label_map", "root": str(root)}
    given = {**CONFIG, "output_dir": str(tmp_path / "run"), "data": {**CONFIG["data"], "train": spec, "val": spec}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(given))
    return segkit.load_config(str(tmp_path / "config.yaml"), list(overrides))


@pytest.mark.parametrize(
    ("overrides", "facts"),
    [
        (
            ["model.pixel_mean=[0.5,0.5,0.5]", "model.pixel_std=[0.2,0.2,0.2]", "model.backbone.in_channels=3"],
            [
                "[1, 0]",
                "images of data.train have 2 channels",
                "list of 2 numbers",
                "measure_pixel_stats",
                "in_channels: 2",
            ],
        ),
        (["data.measure_pixel_stats=true", "model.backbone.in_channels=3"], ["model.backbone.in_channels: 2"]),
        (["data.channels=null"], ["data.channels: null", "have 3 channels", "data.channels: [0, 1]"]),
        (["data.channels=all"], ["data.channels: all", "have 3 channels"]),
        (["data.channels=[0, 7]"], ["image.tif", "no channel 7", "the last one is 2"]),
        (["data.channels=[]"], ["data.channels is empty"]),
        (
            ["data.train_transforms=[{name: ColorJitter}, {name: RandomGrayscale}]"],
            ["ColorJitter", "saturation: 0", "RandomGrayscale", "have 2"],
        ),
        (["data.test_transforms=[{name: RandomGrayscale}]"], ["data.test_transforms", "RandomGrayscale"]),
    ],
)
def test_what_does_not_fit_is_one_error_before_training(root, tmp_path, overrides, facts):
    with pytest.raises(SegkitError) as error:
        build_data(config(root, tmp_path, *overrides))
    assert all(fact in str(error.value) for fact in facts), error.value


def test_a_one_channel_model(root, tmp_path):
    cfg = config(
        root,
        tmp_path,
        "data.channels=[0]",
        "data.measure_pixel_stats=true",
        "model.backbone.in_channels=1",
        "data.val=null",
    )
    data = build_data(cfg)
    assert data.train.load(0).image.shape == (1, 48, 64) and len(data.measured["model.pixel_mean"]) == 1


@pytest.fixture(scope="module")
def measured_run(root, tmp_path_factory):
    """A run whose intensities and pixel statistics are measured."""
    folder = tmp_path_factory.mktemp("measured")
    cfg = config(
        root, folder, "data.intensity={name: dataset_percentile, low: 1, high: 99}", "data.measure_pixel_stats=true"
    )
    train(cfg)
    return cfg, Path(cfg.output_dir)


def test_measured_values_are_saved_as_numbers(measured_run):
    _, run_dir = measured_run
    saved = yaml.safe_load((run_dir / "config.yaml").read_text())
    stored = read_checkpoint(run_dir / "model_final.pth")["config"]
    for values in (saved, stored):
        assert values["data"]["intensity"]["name"] == "window" and len(values["data"]["intensity"]["low"]) == 2
        assert values["data"]["measure_pixel_stats"] is False
        assert values["model"]["pixel_mean"] != [0.3, 0.3] and len(values["model"]["pixel_mean"]) == 2
    assert saved["data"]["channels"] == [1, 0]


def test_evaluation_and_prediction_read_images_as_training_did(measured_run, root):
    cfg, run_dir = measured_run
    metrics = evaluate_only(cfg)  # the configuration itself still asks for measuring
    assert segkit.evaluate(str(run_dir / "model_best.pth"))["bbox/AP"] == metrics["bbox/AP"]
    data = build_data(cfg)
    path = root / "0" / "image.tif"
    for predictor in (
        Predictor(str(run_dir / "model_final.pth"), score_threshold=0),
        Predictor(cfg, weights=str(run_dir / "model_final.pth"), score_threshold=0),
    ):
        assert torch.equal(predictor.reader.read(path), data.train.load(0).image)
    pixels = tifffile.imread(path)[..., [1, 0]]
    expected = predictor(path)
    for source in (pixels, torch.from_numpy(pixels).permute(2, 0, 1), pixels.astype(np.float32)):
        assert torch.equal(predictor(source).boxes, expected.boxes)
    for source, fact in ((pixels[..., :1], r"expected \[H, W, 2\].*data.channels"), (pixels[..., 0], r"\[H, W, 2\]")):
        with pytest.raises(SegkitError, match=fact):
            predictor(source)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_batches_with_a_cache_equal_those_without(root, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    cfg = config(root, tmp_path, "data.train_transforms=[{name: RandomScaledCrop, size: 40}, {name: RandomAffine}]")
    batches = {}
    for cache, start in ((None, 1), (kind, 1), (kind, 2)):  # the third one resumes from a filled cache
        given = cfg.with_values({"data.cache": cache, "data.num_workers": 1})
        data = build_data(given)
        loader = train_loader(given, data, torch.device("cpu"))
        loader.start_at(start)
        batches[cache, start] = [batch.images for batch in itertools.islice(loader, 4)]
        if cache is not None:
            assert data.train.reader.cache.size_on_disk()[0] == 3, "filled by the worker process"
    for start in (1, 2):
        for found, expected in zip(batches[kind, start], batches[None, 1][start - 1 :], strict=False):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_values_that_no_run_has_measured(measured_run, root, tmp_path):
    _, run_dir = measured_run
    state = read_checkpoint(run_dir / "model_final.pth")
    for key in ("data.measure_pixel_stats=true", "data.intensity={name: dataset_percentile}"):
        cfg = config(root, tmp_path, key)
        torch.save({"model": state["model"], "classes": ["class1"]}, tmp_path / "bare.pth")
        for start in (lambda c=cfg: Predictor(c, weights=str(tmp_path / "bare.pth")),
                      lambda c=cfg: evaluate_only(c, weights=str(tmp_path / "bare.pth"))):  # fmt: skip
            with pytest.raises(SegkitError, match=f"{key.split('=')[0]}.*the checkpoint has no result"):
                start()
