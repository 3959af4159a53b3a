"""Images with a label map beside them or in a sister folder, as Cellpose and StarDist use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.formats.class_names import default_category_ids
from segkit.data.formats.label_map_file import count_values, pickle_hint, read_label_array
from segkit.data.formats.label_pairs.layout import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    PARTS_OF_CELLPOSE,
    PairLayout,
    find_layout,
    find_splits,
)
from segkit.data.formats.label_pairs.path_patterns import STEM, Key, PathPattern
from segkit.data.formats.pairing import repeated, shown_pair, unpaired_note
from segkit.data.formats.parsed import relative_name
from segkit.data.formats.pixel_dataset import PixelDataset, targets_of
from segkit.data.formats.recognition import Recognition
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.components import connected_components, count_components
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.images import read_pixels
from segkit.utils.paths import local_path

LOOKED_AT = 3  # images whose label maps are opened to see whether they are binary
MAX_COMPONENTS = 4  # that a single object may have
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
        colors: whether each colour of an RGB mask is one value; without it, masks in colour are refused.
        components: whether each connected region of equal value is one object, for binary masks.
        connectivity: 8 if regions that touch at a corner are one, 4 if not.
    Raises:
        SegkitError: no image has a label map, or two files claim to be the same one.
    """

    exclusive = True
    expected = "images/ and masks/ (labels/, GT/, CLASS_masks/) of equal names, or NAME_masks.tif beside NAME.tif"

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
        if not components and self._looks_binary():
            self._notes.append(
                "the label maps hold only 0 and one value, so that all objects of an image are one; if they are binary "
                "masks, components: true makes each connected region an object"
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
        try:
            found = cls(root=str(path), split=next(iter(splits), None), colors=True)
            in_color = found.in_color()
        except SegkitError:
            return None
        reason = f"{layout.pairs} images with a label map, {layout}"
        if in_color:
            if (count := found._count_colors()) < MIN_COLORS:  # classes, probably
                return None
            spec |= {"colors": True, "components": True}
            reason += f", in {count} colours: regions of one colour are the objects"
        elif found._looks_binary():
            spec["components"] = True
            reason += ", binary: connected regions are the objects"
        specs = {name: {**spec, "split": name} for name in splits}
        return Recognition(next(iter(specs.values()), spec), reason, specs, certainty=0.7)

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
                count_components(label_map, self.connectivity) if self.components else count_values(label_map)
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
        if found is None and images is None and masks is None:
            raise SegkitError(f"{self.root}: {self._why_no_pairs()}", key="root", value=str(self.root))
        if images is None and masks is None:
            assert found is not None
            return found
        base = "" if split is None else f"{split}/"
        chosen = images if images is not None else (found.images if found else f"{base}images/{STEM}.*")
        if masks is not None:
            return PairLayout(chosen, _by_class(masks), 0)
        return PairLayout(chosen, found.masks if found else {None: f"{base}masks/{STEM}.*"}, 0)

    def _why_no_pairs(self) -> str:
        """What is missing in a folder without pairs; the predicate of a message."""
        pickles = sorted(path.name for path in self.root.rglob("*_seg.npy"))[:1]
        if pickles:
            return f"{pickles[0]} {pickle_hint()}"
        return (
            "no image has a label map; expected images/ and masks/ (or labels/, GT/) with equal names, or NAME_masks.tif "
            f"beside NAME.tif; other names are set with images and masks, as masks: labels/{STEM}_cell.tif"
        )

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
            if doubles := repeated(files):
                both = " and ".join(path.name for path in doubles[0][:2])
                raise SegkitError(
                    f"{self.root}: {len(doubles)} {what} have two files of one name, as {both}; name the suffix in the "
                    f"pattern, as {what}: {relative_name(doubles[0][0].with_name(STEM + doubles[0][0].suffix), self.root)}",
                    key=what,
                )
        with_mask = {key for files in maps.values() for key in files}
        every = {key: paths for files in maps.values() for key, paths in files.items()}
        pairs = [
            LabelPair(path[0], {label: files[key][0] for label, files in maps.items() if key in files})
            for key, path in found.items()
            if key in with_mask
        ]
        alone = {key: paths for key, paths in found.items() if key not in with_mask}
        if not pairs:
            first = next(iter(alone.items()), None)
            example = f"; the first image is {shown_pair(first[1][0].name, first[0], every)}" if first else ""
            raise SegkitError(
                f"{self.root}: none of {len(found)} images ({images}) and {len(every)} label maps "
                f"({', '.join(masks.values())}) belong together{example}",
                key="masks",
            )
        if alone:
            self._notes.append(unpaired_note(alone, every, "images", "label map"))
        if extra := {key: paths for key, paths in every.items() if key not in found}:
            self._notes.append(unpaired_note(extra, found, "label maps", "image"))
        if partly := sum(len(pair.masks) < len(maps) for pair in pairs):
            self._notes.append(
                f"{partly} images lack the label map of a class, and count as images without its objects"
            )
        return pairs

    def in_color(self) -> bool:
        """Whether the first mask that can be read is an RGB image; SegkitError if none can."""
        paths = [path for pair in islice(self._pairs, LOOKED_AT) for path in pair.masks.values()]
        for path in paths[:-1]:
            with contextlib.suppress(SegkitError):
                return _is_color(path)
        return _is_color(paths[-1])

    def _first_maps(self) -> Iterator[tuple[int, np.ndarray]]:
        """Label and pixels of the first label maps; load raises the errors of those that cannot be read."""
        for index in range(min(LOOKED_AT, len(self._pairs))):
            for label, path in self._pairs[index].masks.items():
                try:
                    yield label, read_label_array(path, None, self.colors)
                except SegkitError:
                    continue

    def _count_colors(self) -> int:
        """Number of different non-zero values of the first label maps."""
        return len({value for _, pixels in self._first_maps() for value in np.unique(pixels).tolist()} - {0})

    def _looks_binary(self) -> bool:
        """Whether the first label maps of each class hold only 0 and one value, which is not the number of one object.

        A single object has the number 1 and rarely more than a few pieces.
        """
        values: dict[int, set[int]] = {}
        most = 0
        for label, pixels in self._first_maps():
            values.setdefault(label, set()).update(np.unique(pixels).tolist())
            if len(values[label] - {0}) > 1:
                return False
            most = max(most, count_components(pixels, self.connectivity))
        found = {value for own in values.values() for value in own if value}
        return bool(found) and (found != {1} or most > MAX_COMPONENTS)


def _is_color(path: Path) -> bool:
    return path.suffix.lower() != ".npy" and read_pixels(path).ndim == 3


def _by_class(masks: str | Mapping[str, str]) -> dict[str | None, str]:
    """The patterns of the configuration by class; None: the only one."""
    named: dict[str | None, str] = {}
    for name, text in masks.items() if isinstance(masks, Mapping) else [(None, masks)]:
        named[name] = text
    return named
