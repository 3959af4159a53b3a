"""The label table of Cityscapes: the ids that its PNGs and the names that its polygons use."""

from __future__ import annotations

IDS = {
    "unlabeled": 0, "ego vehicle": 1, "rectification border": 2, "out of roi": 3, "static": 4, "dynamic": 5,
    "ground": 6, "road": 7, "sidewalk": 8, "parking": 9, "rail track": 10, "building": 11, "wall": 12, "fence": 13,
    "guard rail": 14, "bridge": 15, "tunnel": 16, "pole": 17, "polegroup": 18, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27,
    "bus": 28, "caravan": 29, "trailer": 30, "train": 31, "motorcycle": 32, "bicycle": 33, "license plate": -1,
}  # fmt: skip
INSTANCE_CLASSES = (
    "person", "rider", "car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
NOT_EVALUATED = ("caravan", "trailer")  # the benchmark ignores them
CLASSES = tuple(name for name in INSTANCE_CLASSES if name not in NOT_EVALUATED)
GROUP = "group"  # ending of the name of a region of several objects
PER_CLASS = 1000  # object k of the class with id c has the number c * 1000 + k; a group has the number c
