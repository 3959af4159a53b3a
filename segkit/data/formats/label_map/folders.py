"""Folders of an image and its label maps: their files, and their recognition."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from segkit.data.formats.label_map_file import refuse_jpeg
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.recognition.folder_contents import files_in, sub_folders
from segkit.data.formats.split_names import split_kind
from segkit.utils.errors import SegkitError, nearest
from segkit.utils.images import is_image_name
from segkit.utils.images.listing import is_system_file

CLASS_FILE = re.compile(r"class([1-9]\d*)\.(tiff?|png|jpe?g)", re.IGNORECASE)  # JPEG is refused with a reason


@dataclass(frozen=True)
class LabelMapFolder:
    """The files of one image.

    ``class_files`` maps each category K to its file name, in ascending order.
    """

    folder: Path
    image: str
    class_files: dict[int, str]


def scan_folder(folder: Path) -> LabelMapFolder:
    """Finds the image and the label maps in a folder.

    Raises a SegkitError for a missing, repeated or unknown file.
    """
    images: list[str] = []
    class_files: dict[int, str] = {}
    for name in sorted(p.name for p in folder.iterdir() if not is_system_file(p.name)):
        match = CLASS_FILE.fullmatch(name)
        if _is_image(name):
            images.append(name)
        elif match is None:
            near = "".join(f"; did you mean '{other}'?" for other in nearest(name, ("image.tif", "class1.tif"), 1))
            raise SegkitError(
                f"{folder / name}: unknown file; expected image.tif and class1.tif, class2.tif, ..."
                + (near if not name.lower().startswith("class") else "")
            )
        elif int(match.group(1)) in class_files:
            raise SegkitError(f"{folder}: has both {class_files[int(match.group(1))]} and {name}; expected one of them")
        else:
            refuse_jpeg(folder / name)
            class_files[int(match.group(1))] = name
    if len(images) != 1:
        raise SegkitError(f"{folder}: expected one image.tif (or .png, ...); found {', '.join(images) or 'none'}")
    return LabelMapFolder(folder, images[0], dict(sorted(class_files.items())))


def recognize_label_maps(path: Path) -> Recognition | None:
    """Recognises a folder of image folders, or such folders by split."""
    count = count_image_folders(path)
    if count:
        reason = f"{count} folders with image.* and classK.*" if count > 1 else "a folder with image.* and classK.*"
        return Recognition({"format": "label_map", "root": str(path.absolute())}, reason)
    splits = {child.name: child for child in sub_folders(path, 20) if split_kind(child.name)}
    counts = {name: count_image_folders(folder) for name, folder in splits.items()}
    specs = {n: {"format": "label_map", "root": str(splits[n].absolute())} for n, count in counts.items() if count}
    return Recognition.of_splits(specs, f"{', '.join(specs)}: folders with image.* and classK.*")


def count_image_folders(root: Path, sampled: int = 50) -> int:
    """Number of folders of one image each in a folder; 0 if it is not a data set of label maps.

    Of the first ``sampled`` folders most must hold an image, and one of them a label map.
    """
    folders = sub_folders(root)
    names = [[file.name for file in files_in(folder, limit=100)] for folder in folders[:sampled]]
    with_image = [own for own in names if any(map(_is_image, own))]
    with_maps = any(CLASS_FILE.fullmatch(name) for own in with_image for name in own)
    return len(folders) if with_maps and len(with_image) > len(names) / 2 else 0


def _is_image(name: str) -> bool:
    return Path(name).stem.lower() == "image" and is_image_name(name)
