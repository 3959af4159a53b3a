"""Pictures of an evaluation: the files' pixels, with the objects at their places in them."""

import numpy as np
import pytest
import torch
from torch import nn

from segkit.data import Synthetic, build_test_loader, build_transforms
from segkit.engine import pictures
from segkit.engine.pictures import draw_pictures
from segkit.structures import Detections

TRANSFORMS = [{"name": "Resize", "size": [20, 30]}, {"name": "DarkBackground"}]


class Lights(Synthetic):
    """Light images, which DarkBackground inverts, under names that collide without their folders."""

    def load(self, index):
        sample = super().load(index)
        sample.image = torch.full_like(sample.image, 250 - index)
        sample.file_name = f"d/{index}/i.tif"
        return sample


class Halves(nn.Module):
    """Finds the left half of every image surely, and the right half hardly; remembers what it is shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def predict(self, images, output_sizes=None):
        self.shown += images
        boxes = torch.tensor([[0.0, 0, 15, 20], [15, 0, 30, 20]])
        found = Detections(
            boxes, torch.tensor([0.9, 0.1]), torch.zeros(2, dtype=torch.long), torch.ones(2, 4, 4), (20, 30)
        )
        return [found.resized(size) for size in output_sizes]


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn, on which image."""
    calls, draw = [], pictures.draw_detections
    monkeypatch.setattr(pictures, "draw_detections", lambda *args: calls.append(args) or draw(*args))
    return calls


def test_a_failure_is_a_warning(tmp_path, monkeypatch, caplog):
    dataset = Lights(num_images=1, image_size=(64, 80), min_objects=2, max_objects=3)
    loader = build_test_loader(dataset, build_transforms(TRANSFORMS), batch_size=1)
    monkeypatch.setattr(pictures, "draw_detections", lambda *args: [][0])
    assert draw_pictures(Halves(), loader, dataset.classes, 0.5, tmp_path, context=torch.no_grad()) == []
    assert "the pictures of the evaluation could not be made (IndexError: list index out of range)" in caplog.text


@pytest.mark.parametrize(("batch_size", "count"), [(1, 8), (2, 3), (4, 1)])
def test_they_show_the_files_own_pixels(tmp_path, drawn, batch_size, count):
    dataset = Lights(num_images=5, image_size=(64, 80), min_objects=2, max_objects=3)
    loader = build_test_loader(dataset, build_transforms(TRANSFORMS), batch_size=batch_size)
    model = Halves()
    (tmp_path / "stale.png").write_text("")
    written = draw_pictures(model, loader, dataset.classes, 0.5, tmp_path, count=count, context=torch.no_grad())
    count = min(count, 5)
    assert sorted(tmp_path.iterdir()) == sorted(written) and len(written) == count and len(drawn) == 2 * count
    assert model.shown[0].shape == (3, 20, 30) and int(model.shown[0].max()) < 10  # dark: the transforms were applied
    for index in range(count):
        sample = dataset.load(index)
        (left, truth, _), (right, found, _) = drawn[2 * index : 2 * index + 2]
        assert torch.equal(left, sample.image) and torch.equal(right, sample.image)
        assert np.array_equal(truth.masks.to_dense(), sample.targets.masks.to_dense())
        assert found.size == (64, 80) and found.boxes.tolist() == [[0, 0, 40, 64]]
    assert {path.name for path in written} == ({f"{i}__i.png" for i in range(count)} if count > 1 else {"i.png"})
