"""Images with a label map beside them or in a sister folder, as Cellpose and StarDist use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.formats.class_names import default_category_ids
from segkit.data.formats.label_map_file import count_values, refuse_jpeg
from segkit.data.formats.label_pairs.arrays import PICKLE, read_label_array
from segkit.data.formats.label_pairs.first_maps import FirstMaps, look_at_maps
from segkit.data.formats.label_pairs.layout import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    PARTS_OF_CELLPOSE,
    PairLayout,
    find_layout,
    find_splits,
)
from segkit.data.formats.label_pairs.path_patterns import STEM, Key, PathPattern
from segkit.data.formats.pairing import Named, shown_pair, unpaired_note
from segkit.data.formats.parsed import relative_name
from segkit.data.formats.pixel_dataset import PixelDataset, targets_of
from segkit.data.formats.recognition import Recognition
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.components import component_values, connected_components
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.paths import local_path

LOOKED_AT = 3  # images whose label maps are opened to see whether they are binary
MIN_COLORS = 8  # from this many colours in the first masks on, colours are taken for objects
CONNECTIVITIES = (4, 8)


@dataclass(frozen=True)
class LabelPair:
    """An image and its label maps by label."""

    image: Path
    masks: dict[int, Path]


@DATASET_FORMAT_REGISTRY.register(name="label_pairs")
class LabelPairs(PixelDataset):
    """Images with a label map each (Cellpose, StarDist): beside them, or in a sister folder.

    Each non-zero value of a label map is one object. Label maps are images of one channel or ``.npy`` arrays. Without
    patterns, the layout is found by looking: ``images/`` and ``masks/`` (or ``labels/``, ``GT/``) with equal names,
    ``NAME_masks.tif`` beside ``NAME.tif``, ``nucleus_masks/`` and other folders of one class each. Images without a label
    map and label maps without an image are skipped, and counted.

    Args:
        root: the data set's folder.
        images: pattern of the images with a ``{stem}``, relative to ``root``, as ``images/{stem}.tif``; or a folder.
        masks: pattern of the label maps, as ``{stem}_masks.*``; several classes: a mapping of class names to patterns.
        split: the subfolder of ``root`` to read, as ``train``, which may also be that of ``images/train``; None: a folder
            without splits.
        class_name: the class of all objects, if ``masks`` names none.
        classes: names in the order of the labels; by default those of ``masks``.
        category_ids: the id of each class; by default 1, 2, ...
        colors: whether each colour of an RGB mask is one value; without it, masks in colour are refused, and RGB masks
            without colours are read as grey.
        components: whether each connected region of equal value is one object, for binary masks.
        connectivity: 8 if regions that touch at a corner are one, 4 if not.
    Raises:
        SegkitError: no image has a label map, two files claim to be the same one, or label maps are JPEG or in colour.
    """

    exclusive = True
    expected = (
        "images/ and masks/ (labels/, GT/, CLASS_masks/) of equal names, NAME_masks.tif beside NAME.tif, or other names by "
        f"patterns, as masks: segmentation/{STEM}.tif"
    )

    def __init__(
        self,
        *,
        root: str,
        images: str | None = None,
        masks: str | Mapping[str, str] | None = None,
        split: str | None = None,
        class_name: str = "object",
        classes: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
        colors: bool = False,
        components: bool = False,
        connectivity: int = 8,
    ) -> None:
        self.root = local_path(root, "data set folder", kind="folder")
        if connectivity not in CONNECTIVITIES:
            raise SegkitError(f"connectivity: {connectivity}; expected 4 or 8", key="connectivity", value=connectivity)
        self.colors, self.components, self.connectivity = colors, components, connectivity
        layout = self._layout(images, masks, split)
        self._notes = [] if images is not None and masks is not None else [f"taken for pairs of {layout}"]
        named = {class_name if name is None else name: text for name, text in layout.masks.items()}
        names = list(named) if classes is None else list(classes)
        for name in named:
            if name not in names:
                raise SegkitError(
                    f"{self.root}: has label maps of the class '{name}', which is not among the classes "
                    f"{', '.join(names)}{did_you_mean(name, names)}",
                    key="classes",
                    value=name,
                )
        self._pairs = PackedList(self._paired(layout.images, {names.index(n): text for n, text in named.items()}))
        ids = default_category_ids(names) if category_ids is None else category_ids
        where = f"images with label maps in {self.root}" + (f" ({split})" if split else "")
        super().__init__(len(self._pairs), names, ids, where)
        self.first_maps = look_at_maps((pair.masks for pair in islice(self._pairs, LOOKED_AT)), connectivity)
        if self.first_maps.colored is not None and not colors:
            read_label_array(self.first_maps.colored)  # raises the error of masks in colour
        if self.first_maps.is_binary and not components:
            self._notes.append(
                "the label maps hold only 0 and one value, so that all objects of an image are one; if they are binary "
                "masks, components: true makes each connected region an object"
            )
        if self.first_maps.smoothed is not None:
            self._notes.append(
                f"the values of {relative_name(self.first_maps.smoothed, self.root)} are scattered over many regions, as "
                "those of classes or of smoothed edges; expected one value an object, saved without antialiasing"
            )

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        if not path.is_dir():
            return None
        splits = find_splits(path)
        layout = next(iter(splits.values()), None) or find_layout(path)
        if layout is None:
            return None
        spec: dict[str, Any] = {"format": "label_pairs", "root": str(path.absolute())}
        reason = f"{layout.pairs} images with a label map, {layout}"
        try:
            first = cls(root=str(path), split=next(iter(splits), None), colors=True).first_maps
        except SegkitError:  # opening the data set raises it again
            first = FirstMaps()
        if first.colored and len(first.values) >= MIN_COLORS:  # fewer say classes, probably, and are refused
            spec |= {"colors": True, "components": True}
            reason += f", in {len(first.values)} colours: regions of one colour are the objects"
        elif first.is_binary and not first.colored:
            spec["components"] = True
            reason += ", binary: connected regions are the objects"
        specs = {name: {**spec, "split": name} for name in splits}
        return Recognition.of_splits(specs, reason, 0.7) or Recognition(spec, reason, certainty=0.7)

    def image_file(self, index: int) -> Path:
        return self._pairs[index].image

    def name(self, index: int) -> str:
        return relative_name(self._pairs[index].image, self.root)

    def read_targets(self, index: int, size: tuple[int, int]) -> Targets:
        parts = []
        for label, path in self._pairs[index].masks.items():
            label_map = read_label_array(path, size, self.colors)
            if self.components:
                found = connected_components(label_map, self.connectivity)[1]
            else:
                found = InstanceMasks.from_label_map(label_map)
            parts.append((found, [label] * len(found)))
        return targets_of(parts, size)

    def count_labels(self, index: int) -> np.ndarray:
        counts = np.zeros(len(self.classes), np.int32)
        for label, path in self._pairs[index].masks.items():
            label_map = read_label_array(path, None, self.colors)
            counts[label] = (
                len(component_values(label_map, self.connectivity)) if self.components else count_values(label_map)
            )
        return counts

    def notes(self) -> list[str]:
        return self._notes

    def _layout(self, images: str | None, masks: str | Mapping[str, str] | None, split: str | None) -> PairLayout:
        """The patterns of the configuration; those that it lacks are found by looking."""
        if images is not None and masks is not None:
            layout = PairLayout(images, _by_class(masks), 0)
            return layout if split is None else layout.below(split)
        splits = find_splits(self.root)
        if split is not None and split not in splits:
            hint = did_you_mean(split, splits) if splits else "; the folder has no splits"
            raise SegkitError(f"{self.root}: there is no split '{split}'{hint}", key="split", value=split)
        found = find_layout(self.root) if split is None else splits[split]
        if found is None and splits:
            raise SegkitError(f"{self.root}: has splits; set split to one of {', '.join(splits)}", key="split")
        if found is None:
            if images is None and masks is None:
                raise SegkitError(f"{self.root}: {self._why_no_pairs()}", key="root", value=str(self.root))
            found = PairLayout(f"images/{STEM}.*", {None: f"masks/{STEM}.*"}, 0)
        return PairLayout(images or found.images, found.masks if masks is None else _by_class(masks), 0)

    def _why_no_pairs(self) -> str:
        """What is missing in a folder without pairs; the predicate of a message."""
        pickles = sorted(path.name for path in self.root.rglob("*_seg.npy"))[:1]
        if pickles:
            return f"{pickles[0]} {PICKLE}"
        return f"no image has a label map; expected {self.expected}"

    def _paired(self, images: str, masks: Mapping[int, str]) -> list[LabelPair]:
        """Images with at least one label map; the others are noted."""
        maps = {label: PathPattern(text, self.root, "masks").files(MASK_SUFFIXES) for label, text in masks.items()}
        masked = {path for files in maps.values() for group in files.values() for path in group}
        found: dict[Key, list[Path]] = {}
        for key, paths in PathPattern(images, self.root, "images").files(IMAGE_SUFFIXES).items():
            own = [path for path in paths if path not in masked and not path.stem.endswith(PARTS_OF_CELLPOSE)]
            if own:
                found[key] = own
        for what, files in (("images", found), *(("masks", files) for files in maps.values())):
            if doubles := [group for group in files.values() if len(group) > 1]:
                both = " and ".join(path.name for path in doubles[0][:2])
                raise SegkitError(
                    f"{self.root}: {len(doubles)} {what} have two files of one name, as {both}; name the suffix in the "
                    f"pattern, as {what}: {relative_name(doubles[0][0].with_name(STEM + doubles[0][0].suffix), self.root)}",
                    key=what,
                )
        every = {key: paths for files in maps.values() for key, paths in files.items()}
        pairs = [
            LabelPair(path[0], {label: files[key][0] for label, files in maps.items() if key in files})
            for key, path in found.items()
            if key in every
        ]
        image_names, map_names = _named(found), _named(every)
        if not pairs:
            example = f"; the first image is {shown_pair(image_names[0], map_names)}" if found else ""
            raise SegkitError(
                f"{self.root}: none of {len(found)} images ({images}) and {len(every)} label maps "
                f"({', '.join(masks.values())}) belong together{example}",
                key="masks",
            )
        for path in (path for pair in pairs for path in pair.masks.values()):
            refuse_jpeg(path)
        if alone := {key: paths for key, paths in found.items() if key not in every}:
            self._notes.append(unpaired_note(_named(alone), map_names, "images", "label map"))
        if extra := {key: paths for key, paths in every.items() if key not in found}:
            self._notes.append(unpaired_note(_named(extra), image_names, "label maps", "image"))
        if partly := sum(len(pair.masks) < len(maps) for pair in pairs):
            self._notes.append(
                f"{partly} images lack the label map of a class, and count as images without its objects"
            )
        return pairs


def _named(files: Mapping[Key, Sequence[Path]]) -> list[Named]:
    """The stem and the name of each image or label map, for notes."""
    return [(key[-1], paths[0].name) for key, paths in files.items()]


def _by_class(masks: str | Mapping[str, str]) -> dict[str | None, str]:
    """The patterns of the configuration by class; None: the only one."""
    named: dict[str | None, str] = {}
    for name, text in masks.items() if isinstance(masks, Mapping) else [(None, masks)]:
        named[name] = text
    return named
