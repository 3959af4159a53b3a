import logging

import pytest
import torch

from segkit import build_model
from segkit.config import load_config
from segkit.data.formats.base import Dataset
from segkit.engine.build import prepare_model
from segkit.engine.datasets import RunData
from segkit.engine.detection_limits import warn_of_detection_limits

ONLY_PROPOSALS = [
    "model.backbone={name: TinyNet, width: 8}",
    "model.neck={name: FPN, out_channels: 8}",
    "model.proposal_generator={name: RPN, anchor_generator: {name: AnchorGenerator}, head: {name: RPNHead}, "
    "post_nms_top_k: [8, 8]}",
    "model.detections_per_image=9",
]


class Counted(Dataset):
    classes, category_ids = ["a"], [1]

    def __init__(self, counts):
        self.counts = torch.tensor(counts).numpy()
        self.image_ids = list(range(len(counts)))

    def load(self, index):
        raise AssertionError("counting reads no image")

    label_counts = load

    def object_counts(self):
        return self.counts


class Uncounted(Counted):
    object_counts = Dataset.object_counts


def config(*overrides):
    return load_config("segkit://quickstart.yaml", overrides)


def limits(detections, proposals):
    return [
        f"model.roi_heads.detections_per_image={detections}",
        f"model.proposal_generator.post_nms_top_k=[1000, {proposals}]",
    ]


def warnings(caplog, cfg, train):
    caplog.clear()
    with caplog.at_level(logging.WARNING, "segkit"):
        warn_of_detection_limits(build_model(cfg, 1), RunData(train, None, ["a"], [1]))
    return [record.getMessage() for record in caplog.records]


def test_fewer_proposals_than_detections_are_a_warning_with_keys_and_counts(caplog):
    for data in (None, Uncounted([5000])):  # an evaluation; data that would have to be read
        (message,) = warnings(caplog, config(*limits(detections=300, proposals=299)), data)
        for part in (
            "model.proposal_generator.post_nms_top_k keeps 299 proposals",
            "model.roi_heads.detections_per_image asks for 300",
        ):
            assert part in message
    assert warnings(caplog, config(*limits(detections=300, proposals=300)), None) == []


@pytest.mark.parametrize(
    ("proposals", "key"),
    [(1000, "model.roi_heads.detections_per_image"), (40, "model.proposal_generator.post_nms_top_k")],
)
def test_training_images_with_more_objects_than_the_model_can_find(caplog, proposals, key):
    limit = min(50, proposals)
    cfg = config(*limits(detections=50, proposals=proposals))
    message = warnings(caplog, cfg, Counted([limit, limit + 1, 0, limit + 49]))[-1]
    total = 3 * limit + 50
    assert (
        f"2 of 4 training images have more objects than the model can find in one, which is {limit} ({key})" in message
    )
    assert f"the most: {limit + 49}" in message and f"50 of {total} objects" in message
    assert f"recall is at most {100 * (1 - 50 / total):.1f} %" in message
    assert not any("training images" in m for m in warnings(caplog, cfg, Counted([limit, 0])))
    assert not any("training images" in m for m in warnings(caplog, cfg, Counted([limit + 1]).subset([])))


def test_the_key_of_a_model_without_roi_heads(caplog):
    cfg = load_config("segkit://quickstart.yaml", ["model.name=ProposalNetwork", *ONLY_PROPOSALS])
    (message,) = warnings(caplog, cfg, None)
    assert "model.detections_per_image asks for 9 detections" in message


def test_a_model_of_ones_own_without_such_limits_has_no_warning(caplog):
    warn_of_detection_limits(torch.nn.Linear(1, 1), RunData(Counted([5000]), None, ["a"], [1]))
    assert caplog.records == []


def test_prepare_model_warns_of_them(caplog):
    cfg = config(*limits(detections=3, proposals=2))
    prepare_model(cfg, RunData(Counted([4]), None, ["a"], [1]), torch.device("cpu"))
    assert "keeps 2 proposals" in caplog.text and "1 of 1 training images" in caplog.text
