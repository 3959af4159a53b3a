"""Finds the images, labels, splits and classes of a YOLO data set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.yaml_reader import read_yaml
from segkit.data.formats.parsing.text import read_text
from segkit.data.formats.split_names import SPLIT_FOLDERS
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.images import is_image_name
from segkit.utils.images.listing import is_system_file
from segkit.utils.paths.missing_files import leads_out

CLASS_FILES = ("classes.txt", "labels/classes.txt", "images/classes.txt", "obj.names")
IMAGES, LABELS = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
MAX_LISTED = 10_000_000  # images of one split
DATA_KEYS = {"names", "nc", "path", "kpt_shape", *SPLIT_FOLDERS}


@dataclass(frozen=True)
class Layout:
    """A YOLO data set.

    Attributes:
        root: the folder that image names in messages are relative to.
        classes: the name of each index; None: no file names them.
        splits: the folders and lists of images of each split.
        file: the YAML file; None: a folder without one.
    """

    root: Path
    classes: dict[int, str] | None
    splits: dict[str, list[Path]]
    file: Path | None = None


def find_layout(path: Path) -> Layout:
    """The layout of a YAML file, or of a folder with or without one.

    Raises:
        SegkitError: there is no YAML file and no folder of images, or the YAML file is invalid.
    """
    path = _normal(path)
    if path.is_file():
        return read_data_file(path)
    file = find_data_file(path)
    if file is not None:
        return read_data_file(file)
    splits = {name: [folder] for name, folder in image_folders(path).items()}
    if not splits:
        raise SegkitError(
            f"{path}: has no data.yaml and no folder 'images'; expected one of them, and labels in 'labels'",
            value=str(path),
        )
    return Layout(path, _listed_classes(path), splits)


def find_data_file(folder: Path) -> Path | None:
    """The YAML file of a folder that describes a data set; None if there is none.

    Raises:
        SegkitError: there are several.
    """
    found = []
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        text = file.read_bytes()[: 1 << 16] if file.is_file() else b""
        is_named = file.stem in ("data", "dataset")
        if b"names" in text and (is_named or any(key.encode() + b":" in text for key in SPLIT_FOLDERS)):
            found.append(file)
    named = [file for file in found if file.stem in ("data", "dataset")]
    if len(named or found) > 1:
        names = ", ".join(file.name for file in named or found)
        raise SegkitError(f"{folder}: holds {names}; give the one to use", value=str(folder))
    return next(iter(named or found), None)


def image_folders(root: Path) -> dict[str, Path]:
    """The folders of images of a data set without a YAML file, by split.

    The split is ``all`` if there are no others.
    Known are ``images/train``, ``train/images``, ``images``, and images with label files beside them.
    """
    found: dict[str, Path] = {}
    for name, split in SPLIT_FOLDERS.items():
        for folder in (root / "images" / name, root / name / "images"):
            if folder.is_dir():
                found.setdefault(split, folder)
    if found:
        return found
    if (root / "images").is_dir():
        return {"all": root / "images"}
    has_labels = any((root / name).is_file() for name in ("classes.txt", "obj.names"))
    return {"all": root} if has_labels and any(map(is_image_name, os.listdir(root))) else {}


def read_data_file(file: Path) -> Layout:
    """The layout that a YAML file describes.

    Raises:
        SegkitError: it is no such file, describes keypoints, or its folders do not exist.
    """
    content = read_yaml(read_text(file, file.name, 1 << 22), file.name).plain()
    if not isinstance(content, dict) or not ({"names", "nc"} & content.keys()):
        raise SegkitError(f"{file}: has no 'names'; expected a list of class names, and folders of images as 'train'")
    if content.get("kpt_shape") is not None:
        raise SegkitError(f"{file}: describes keypoints ('kpt_shape'); expected labels for detection or segmentation")
    root = _root(file, content.get("path"))
    splits: dict[str, list[Path]] = {}
    for key, split in SPLIT_FOLDERS.items():
        entries = content.get(key)
        for entry in entries if isinstance(entries, list) else [entries]:
            if entry is not None and entry != "":
                splits.setdefault(split, []).append(_find_entry(file, root, key, entry))
    if not splits:
        hint = did_you_mean(next((str(k) for k in content if k not in DATA_KEYS), "train"), SPLIT_FOLDERS)
        raise SegkitError(f"{file}: has no 'train', 'val' or 'test'{hint}")
    return Layout(root, _classes(file, content), splits, file)


def find_images(entries: list[Path], root: Path) -> Iterator[Path]:
    """The images of a split: those of its folders, subfolders included, and those of its lists.

    Raises:
        SegkitError: a list names a file that is relative and leads out of the folder.
    """
    for entry in entries:
        if entry.is_dir():
            for folder, folders, names in os.walk(entry):
                folders[:] = sorted(name for name in folders if not is_system_file(name))
                yield from (
                    Path(folder, name) for name in sorted(names) if is_image_name(name) and not is_system_file(name)
                )
        else:
            yield from _listed_images(entry, root)


def label_file(image: Path) -> Path:
    """The label file of an image, by YOLO's rule: the last folder ``images`` becomes ``labels``.

    Without such a folder the label file lies beside the image.
    """
    return Path(LABELS.join(str(image).rsplit(IMAGES, 1))).with_suffix(".txt")


def _root(file: Path, stated: Any) -> Path:
    """The folder that a YAML file's splits are relative to."""
    if stated is None or stated == "":
        return file.parent
    if not isinstance(stated, str) or "\0" in stated:
        raise SegkitError(f"{file}: 'path' is {str(stated)[:60]}; expected a folder")
    text = stated.replace("\\", "/")
    candidates = [file.parent / text, file.parent.parent / text, Path.cwd() / text]
    found = next((path for path in candidates if os.path.isdir(path)), None)
    # A copied data set still states the folder of the machine that it came from.
    return file.parent if found is None else _normal(found)


def _find_entry(file: Path, root: Path, key: str, entry: Any) -> Path:
    """The folder or list of images of a split, in the spellings that exporters use."""
    if not isinstance(entry, str):
        raise SegkitError(f"{file}: '{key}' is {str(entry)[:60]}; expected a folder, a text file, or a list of them")
    text = entry.replace("\\", "/")
    tails = [text, text.removeprefix("./"), text.removeprefix("../"), text.removeprefix("../../")]
    tried = [folder / tail for folder in (root, file.parent) for tail in tails]
    for path in tried:
        if os.path.isdir(path) or (path.suffix == ".txt" and os.path.isfile(path)):  # False for names too long
            return _normal(path)
    raise SegkitError(
        f"{file}: '{key}' is '{entry[:200]}', which is neither a folder nor a text file below {root}; the folders there "
        f"are {', '.join(sorted(p.name for p in root.iterdir() if p.is_dir())[:10]) or 'none'}",
        key=key,
        value=entry,
    )


def _normal(path: Path) -> Path:
    """An absolute path without ``..``.

    Links stay, because YOLO's rule for labels looks at the names of folders.
    """
    plain = Path(os.path.normpath(path.absolute()))
    return plain if plain.exists() else path.resolve()


def _listed_images(file: Path, root: Path) -> Iterator[Path]:
    """The images of a text file with one path a line."""
    for number, line in enumerate(read_text(file, file.name, 1 << 30).splitlines(), start=1):
        name = line.strip().replace("\\", "/")
        if not name:
            continue
        if number > MAX_LISTED or "\0" in name or len(name) > 4096:
            raise SegkitError(f"{file.name}:{number}: is not the path of an image: '{name[:60]}'")
        path = Path(name)
        if not path.is_absolute():
            if leads_out(name):
                raise SegkitError(f"{file.name}:{number}: the path '{name[:200]}' leads out of the data set's folder")
            below = [folder / name.removeprefix("./") for folder in (root, file.parent)]
            path = next((candidate for candidate in below if os.path.isfile(candidate)), below[0])
        yield path


def _classes(file: Path, content: Mapping[str, Any]) -> dict[int, str]:
    """The name of each index, from ``names`` (a list or a mapping) or ``nc``."""
    names, count = content.get("names"), content.get("nc")
    if names is None and isinstance(count, int) and 0 < count < 100_000:
        return {index: f"class_{index}" for index in range(count)}
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise SegkitError(f"{file}: 'names' is {str(names)[:60]}; expected a list of class names", key="names")
    found: dict[int, str] = {}
    for key, name in names.items():
        index = int(key) if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10 else key
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < 2**31:
            raise SegkitError(f"{file}: 'names' has the key {str(key)[:40]!r}; expected 0, 1, 2, ...", key="names")
        found[index] = name if isinstance(name, str) else str(name)
    if isinstance(count, int) and count != len(found):
        raise SegkitError(f"{file}: 'nc' is {count}, but 'names' has {len(found)} names", key="nc", value=count)
    return dict(sorted(found.items()))


def _listed_classes(root: Path) -> dict[int, str] | None:
    """The classes of ``classes.txt``, one a line; None if there is no such file."""
    for name in CLASS_FILES:
        if (root / name).is_file():
            lines = [line.strip() for line in read_text(root / name, name).splitlines()]
            return {index: line for index, line in enumerate(lines) if line}
    return None
