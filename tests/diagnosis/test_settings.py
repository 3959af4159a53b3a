"""Settings are read from every shipped configuration, and unknown ones are None."""

from pathlib import Path

import pytest

from segkit.config.loader import load_config
from segkit.diagnosis import prescriptions
from segkit.diagnosis.settings import ModelSettings

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SHIPPED = sorted(
    str(file.relative_to(CONFIGS)) for file in CONFIGS.rglob("*.yaml") if not file.name.startswith("study")
)
QUICKSTART = "segkit://quickstart.yaml"


def settings(name, *overrides):
    return ModelSettings.from_config(load_config(CONFIGS / name, overrides=list(overrides)))


@pytest.mark.parametrize("name", [name for name in SHIPPED if not any(part[0] == "_" for part in Path(name).parts)])
def test_shipped_configurations(name):
    of = settings(name)
    assert of.smallest_anchor and of.largest_anchor > of.smallest_anchor
    assert of.detections_per_image and of.nms_threshold and of.post_nms_top_k
    assert (of.mask_resolution is None) == (
        "mask_head" not in str(of.config.model) or "'mask_head': None" in str(of.config.model)
    )
    for key in of.keys.values():
        assert prescriptions.value_at(of, key) is not None, key
    changes = [
        *prescriptions.higher_detection_limit(of, 1234),
        *prescriptions.anchors_for(of, 9.0, 700.0),
        *prescriptions.enlarged(of, 1.5),
        *prescriptions.higher_nms_threshold(of, 0.72),
        *prescriptions.larger_masks(of),
        *prescriptions.overlap_loss(of),
        *prescriptions.repeated_rare_classes(of),
        *prescriptions.half_pixel_corrections(of, [*prescriptions.box_heads(of), "model.roi_heads.mask_head"]),
    ]
    new = ModelSettings.from_config(of.config.with_overrides(changes))
    assert new.detections_per_image == 1500 and new.post_nms_top_k >= 3000
    assert new.smallest_anchor == 8 and new.largest_anchor >= 490
    assert new.scale((200, 200)) == pytest.approx(1.5 * of.scale((200, 200)), rel=0.01)


def test_nothing_is_known_without_a_configuration():
    assert ModelSettings.from_config(None) == ModelSettings()
    assert ModelSettings().scale((10, 20)) == 1.0
    assert prescriptions.enlarged(ModelSettings(), 2) == prescriptions.anchors_for(ModelSettings(), 8, 64) == ()


@pytest.mark.parametrize(
    ("transforms", "size", "scale"),
    [
        ("[]", (40, 60), 1),
        ("[{name: ResizeShortestEdge, sizes: [80], max_size: 100}]", (40, 40), 2),
        ("[{name: ResizeShortestEdge, sizes: [80], max_size: 100}]", (40, 100), 1),
        ("[{name: Resize, size: [80, 20]}]", (40, 40), 1),
        (
            "[{name: RandomScale, min_scale: 1, max_scale: 4}, {name: RandomScale, min_scale: 2, max_scale: 2}]",
            (9, 9),
            4,
        ),
        ("[{name: RandomHorizontalFlip}]", (9, 9), 1),
    ],
)
def test_test_scale(transforms, size, scale):
    of = ModelSettings.from_config(load_config(QUICKSTART, overrides=[f"data.test_transforms={transforms}"]))
    assert of.scale(size) == pytest.approx(scale)


def test_parts_of_the_users_own():
    cfg = load_config(QUICKSTART)
    tree = cfg.to_dict()
    tree["model"] = {
        "name": "Own",
        "roi_heads": {"name": "Heads", "nms_threshold": "soft", "detections_per_image": True},
    }

    class Config:
        data = cfg.data

        def to_dict(self):
            return tree

    of = ModelSettings.from_config(Config())
    assert of.nms_threshold is of.detections_per_image is of.anchor_sizes is of.smallest_anchor is None
    assert of.keys == {"predict_score_threshold": "predict.score_threshold"}


def test_tiles():
    tiles = "{format: tiles, of: {format: label_map, root: data}, size: [320, 200], overlap: 8}"
    of = ModelSettings.from_config(load_config(QUICKSTART, overrides=[f"data.val={tiles}"]))
    assert (of.tile_size, of.tile_overlap, of.keys["tile_overlap"]) == ((320, 200), 8, "data.val.overlap")


@pytest.mark.parametrize(
    ("value", "above"), [(10, 15), (100, 150), (155, 200), (240, 250), (900, 1000), (999, 1000), (1234, 1500)]
)
def test_round_figures(value, above):
    assert prescriptions.round_above(value) == above
