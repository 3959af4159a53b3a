"""Everything that a configuration, a data set, a transform or a predictor holds can be pickled and copied."""

from __future__ import annotations

import copy
import functools
import json
import multiprocessing
import pickle
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import segkit
from segkit.data import Coco, ImageFolder, LabelMap, Synthetic, build_train_loader
from segkit.data.batch_sampler import Draw
from segkit.data.loader import init_worker
from segkit.data.samplers import ShuffleSampler
from segkit.data.transformed_dataset import TransformedTestDataset, TransformedTrainDataset
from segkit.data.transforms import Compose, MixingTransform, Photometric, build_transforms
from segkit.engine.metrics import DivergedError
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.nonfinite import NotFiniteError
from segkit.registry import ALL_REGISTRIES, BACKBONE_REGISTRY, DATASET_FORMAT_REGISTRY, TRANSFORM_REGISTRY
from segkit.results import PartFiles
from segkit.structures import Batch, Detections, ImageBatch, InstanceMasks, Sample, Targets
from segkit.utils.errors import PeerLost, RunInterrupted, SegkitError
from segkit.utils.logging import logging_arguments, setup_logging

WAYS = [lambda x: pickle.loads(pickle.dumps(x)), lambda x: pickle.loads(pickle.dumps(x, protocol=2)), copy.deepcopy]
NEEDED = {"optimizer": {"lr": 0.1}}


def runtime(folder):
    """A value for every name of a run-time value."""
    model = nn.Linear(2, 2)
    return {
        "num_classes": 3, "num_anchors": 3, "num_samples": 5, "seed": 0, "period": 5, "classes": ["a", "b", "c"],
        "category_ids": [1, 2, 3], "max_detections": 10, "results_dir": str(folder), "class_agnostic": False,
        "predicts_masks": True, "model": model, "params": list(model.parameters()), "dataset": Synthetic(num_images=5),
        "in_features": {f"p{i + 2}": FeatureSpec(8, 4 << i) for i in range(5)}, "output": folder, "parts": PartFiles(folder),
    }  # fmt: skip


def components():
    for registry in ALL_REGISTRIES:
        if registry in (DATASET_FORMAT_REGISTRY, BACKBONE_REGISTRY):
            continue  # below, with data; and tests/modeling/backbones
        for name, component in registry:
            for i, example in enumerate(getattr(component, "examples", ({},))):
                yield pytest.param(registry, {registry.key: name, **example}, id=f"{registry.title}-{name}-{i}")


@pytest.mark.parametrize(("registry", "spec"), list(components()))
def test_every_component(registry, spec, tmp_path):
    if package := getattr(registry.get(spec[registry.key]), "package", ""):  # of an extra
        pytest.importorskip(package)
    made = registry.build({**NEEDED.get(registry.title, {}), **spec}, **runtime(tmp_path))
    for way in WAYS:
        again = way(made)
        assert type(again) is type(made)
        if isinstance(made, nn.Module):
            for (name, one), two in zip(made.state_dict().items(), again.state_dict().values(), strict=True):
                assert torch.equal(one, two), name


@functools.cache
def sample(index=0):
    return Synthetic(num_images=4, image_size=(64, 80), max_size=30).load(index)


def load_other(generator):
    return sample(int(torch.randint(0, 4, (), generator=generator)))


def same(one: Sample, two: Sample) -> bool:
    masks = one.targets.masks.to_dense(), two.targets.masks.to_dense()
    return (
        torch.equal(one.image, two.image) and torch.equal(one.targets.boxes, two.targets.boxes) and torch.equal(*masks)
    )


@pytest.mark.parametrize("name", TRANSFORM_REGISTRY.names())
def test_transforms_do_the_same_afterwards(name):
    for example in TRANSFORM_REGISTRY.get(name).examples:
        transform = Compose(build_transforms([{"name": name, **example}]).transforms)
        for way in WAYS[::2]:
            for seed in range(2):
                one, two = (
                    t(sample(), torch.Generator().manual_seed(seed), load_other) for t in (transform, way(transform))
                )
                assert same(one, two)


@pytest.fixture
def datasets(tmp_path):
    """One of each format that reads files, and a part of one."""
    rng = np.random.default_rng(0)
    for i in (1, 2, 3):
        image = Image.fromarray(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8))
        (tmp_path / "maps" / str(i)).mkdir(parents=True)
        (tmp_path / "images").mkdir(exist_ok=True)
        image.save(tmp_path / "images" / f"{i}.png")
        image.save(tmp_path / "maps" / str(i) / "image.tif")
        label_map = np.zeros((24, 30), np.uint16)
        label_map[3:9, 4:10], label_map[12:20, 12:25] = 1, 300 + i
        Image.fromarray(label_map).save(tmp_path / "maps" / str(i) / "class1.tif")
    square = {
        "segmentation": [[2, 2, 12, 2, 12, 9, 2, 9]],
        "bbox": [2, 2, 10, 7],
        "area": 70,
        "iscrowd": 0,
        "category_id": 1,
    }
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 24, "width": 30} for i in (1, 2, 3)],
        "annotations": [{"id": i, "image_id": i, **square} for i in (1, 2, 3)],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    coco = Coco(json=str(tmp_path / "coco.json"), images=str(tmp_path / "images"))
    return [coco, coco.subset([2, 0]), LabelMap(root=str(tmp_path / "maps")), ImageFolder(root=str(tmp_path / "images")),
            Synthetic(num_images=3, image_size=(40, 40), max_size=20)]  # fmt: skip


def test_data_sets(datasets):
    for dataset in datasets:
        dataset.label_counts(0)  # the cached counts are pickled too
        for way in WAYS[::2]:
            again = way(dataset)
            assert len(again) == len(dataset) and again.summary() == dataset.summary()
            assert all(same(again.load(i), dataset.load(i)) for i in range(len(dataset)))
            assert [again.label_counts(i) for i in range(len(again))] == [
                dataset.label_counts(i) for i in range(len(again))
            ]


@pytest.mark.parametrize(
    "error",
    [
        SegkitError("text", key="a.b", value=3, choices=["x", "y"]),
        PeerLost("gone", key="k"),
        NotFiniteError("nan", value=[1]),
        DivergedError(["loss/a"], 3, 5, 20),
        RunInterrupted(15),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_keep_their_attributes(error):
    for way in WAYS:
        again = way(error)
        assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)


def test_structures_and_configurations():
    one = sample()
    boxes = torch.tensor([[1.0, 2, 20, 30]])
    found = Detections(boxes, torch.tensor([0.5]), torch.tensor([0]), torch.rand(1, 14, 14), (64, 80))
    assert found.masks is not None  # pasted, and kept
    for way in WAYS:
        assert same(way(one), one) and same(way(Batch([one])).samples[0], one)
        assert torch.equal(way(one.targets).boxes, one.targets.boxes) and isinstance(way(one.targets), Targets)
        assert torch.equal(way(found).masks.to_dense(), found.masks.to_dense()) and way(found).size == found.size
        assert isinstance(way(InstanceMasks.empty((3, 4))), InstanceMasks)
        assert torch.equal(
            way(ImageBatch.from_images([torch.ones(3, 5, 6)], 4)).tensor[0, :, :5, :6], torch.ones(3, 5, 6)
        )
        cfg = segkit.load_config("segkit://quickstart.yaml", ["train.epochs=2"])
        assert way(cfg).to_dict() == cfg.to_dict() and way(cfg).origins == cfg.origins
        assert way(cfg).model.backbone.width == cfg.model.backbone.width


def test_a_predictor():
    cfg = segkit.load_config("segkit://quickstart.yaml", ["model.backbone={name: TinyNet, width: 8}", "data.classes=[a]",
                             "data.test_transforms=[{name: PercentileContrast}, {name: DarkBackground}]"])  # fmt: skip
    predictor = segkit.Predictor(cfg, model=segkit.build_model(cfg), score_threshold=0.0)
    expected = predictor(sample().image)
    assert len(expected)
    for way in WAYS[::2]:
        assert torch.equal(way(predictor)(sample().image).boxes, expected.boxes)


USER = """
import logging
from segkit.data.transforms import Transform
from segkit.registry import TRANSFORM_REGISTRY
from torch.utils.data import Dataset

@TRANSFORM_REGISTRY.register
class SegTestSpawned(Transform):
    def __call__(self, sample, generator):
        logging.getLogger("segkit.mine").warning("seen in a worker: %s", sample.file_name)
        assert "SegTestSpawned" in TRANSFORM_REGISTRY
        return sample

class Everything(Dataset):
    def __init__(self, parts):
        self.parts = parts

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, index):
        items, keys = self.parts[index]
        return [items[key] for key in keys]

def first(batch):
    return batch[0]
"""


def test_spawned_workers_return_the_same_items(tmp_path, datasets, monkeypatch, request):
    """One worker for all of it: a spawned process takes seconds to import torch."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "seg_test_spawned_parts.py").write_text(USER)
    (folder / "run.yaml").write_text("_BASE_: segkit://quickstart.yaml\nimports: [seg_test_spawned_parts]\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    request.addfinalizer(lambda: TRANSFORM_REGISTRY._obj_map.pop("SegTestSpawned", None))
    segkit.load_config(folder / "run.yaml")  # so that it is imported from a folder that is not on the path
    import seg_test_spawned_parts as user

    plain = [n for n, t in TRANSFORM_REGISTRY if not issubclass(t, MixingTransform) and n != "SegTestSpawned"]
    specs = [{"name": name, **TRANSFORM_REGISTRY.get(name).examples[0]} for name in plain]
    specs = [{"name": "SegTestSpawned"}, *specs, {"name": "CopyPaste", "p": 1.0}, {"name": "Mosaic", "size": 64}]
    specs.append({"name": "torchvision.transforms.v2.RandomPosterize", "bits": 3})
    parts = [
        (TransformedTestDataset(dataset, build_transforms([{"name": "PercentileContrast"}])), [0, 1])
        for dataset in datasets
    ]
    parts.append(
        (TransformedTrainDataset(datasets[-1], build_transforms(specs), seed=4), [Draw(0, 1, 0), Draw(1, 2, 0)])
    )
    data = user.Everything(parts)
    setup_logging(tmp_path / "log")
    loader = torch.utils.data.DataLoader(
        data, num_workers=1, multiprocessing_context="spawn", collate_fn=user.first, batch_size=1,
        worker_init_fn=functools.partial(init_worker, logging_arguments=logging_arguments()),
    )  # fmt: skip
    (tmp_path / "log" / "log.txt").write_text("")
    found = list(loader)
    log = (tmp_path / "log" / "log.txt").read_text()
    assert "warning: seen in a worker" in log
    for i, expected in enumerate(data[i] for i in range(len(data))):
        assert all(same(one, two) for one, two in zip(found[i], expected, strict=True))


@pytest.mark.filterwarnings("ignore:Got pickle error")
def test_what_cannot_be_sent_to_a_worker_is_named(monkeypatch):
    dataset = Synthetic(num_images=4, image_size=(40, 40), max_size=20)
    transforms = Compose([Photometric(lambda image: image, 1.0)])
    loader = build_train_loader(dataset, transforms, sampler=ShuffleSampler(4, 0), batch_size=2, seed=0, num_workers=1)
    loader._loader.multiprocessing_context = multiprocessing.get_context("spawn")
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    with pytest.raises(SegkitError, match=r"^the transform Photometric cannot be pickled .*'spawn'.*num_workers=0"):
        next(iter(loader))
