"""Recognises folders of an image and its label maps."""

from __future__ import annotations

import re
from pathlib import Path

from segkit.data.formats.recognition import Recognition
from segkit.data.formats.recognition.folder_contents import files_in, sub_folders
from segkit.data.formats.split_names import find_split, split_kind
from segkit.utils.images import is_image_name

CLASS_FILE = re.compile(r"class([1-9]\d*)\.(tif|tiff|png)", re.IGNORECASE)


def recognize_label_maps(path: Path) -> Recognition | None:
    """Recognises a folder of image folders, or such folders by split."""
    count = count_image_folders(path)
    if count:
        reason = f"{count} folders with image.* and classK.*" if count > 1 else "a folder with image.* and classK.*"
        return Recognition({"format": "label_map", "root": str(path.absolute())}, reason)
    splits = {child.name: child for child in sub_folders(path, 20) if split_kind(child.name)}
    counts = {name: count_image_folders(folder) for name, folder in splits.items()}
    specs = {n: {"format": "label_map", "root": str(splits[n].absolute())} for n, count in counts.items() if count}
    if not specs:
        return None
    first = find_split(specs, "train") or next(iter(specs))
    return Recognition(specs[first], f"{', '.join(specs)}: folders with image.* and classK.*", specs)


def count_image_folders(root: Path, sampled: int = 50) -> int:
    """Number of folders of one image each in a folder; 0 if it is not a data set of label maps.

    Of the first ``sampled`` folders each must hold an image and nothing unknown, and one of them a label map.
    """
    folders = sub_folders(root, 1_000_000) if root.is_dir() else []
    has_labels = False
    for folder in folders[:sampled]:
        names = [file.name for file in files_in(folder, limit=100)]
        images = [name for name in names if Path(name).stem == "image" and is_image_name(name)]
        maps = [name for name in names if CLASS_FILE.fullmatch(name)]
        if len(images) != 1 or len(images) + len(maps) != len(names):
            return 0
        has_labels = has_labels or bool(maps)
    return len(folders) if has_labels else 0
