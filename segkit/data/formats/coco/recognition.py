"""Recognises COCO files in a folder, and finds the images of each.

The layouts that people have: ``annotations/instances_train2017.json`` beside ``train2017/`` or ``images/train2017/``,
Roboflow's ``train/_annotations.coco.json`` beside the images, and one JSON beside its images or their folder.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from segkit.data.formats.recognition import Recognition
from segkit.data.formats.recognition.folder_contents import files_in, sub_folders
from segkit.data.formats.split_names import find_split, split_word
from segkit.utils.errors import first_few
from segkit.utils.paths.missing_files import leads_out

PEEKED_BYTES = 1 << 18  # read from each end of a file
MAX_FILES = 40  # JSON files that are looked at; a folder of more is one of a JSON an image
MAX_NAMES = 20  # of a file's images, which are looked for
CERTAINTY = 0.9
LESS_CERTAIN = 0.7  # for files of LVIS, which a format of their own reads
_OTHER_TASKS = (b'"segments_info"', b'"caption"')
_KIND = re.compile(r"^(instances|person_keypoints|captions|panoptic|image_info|stuff)_")


def recognize_coco(path: Path) -> Recognition | None:
    """Recognises a COCO file, or a folder with such files."""
    found = find_files(path, _coco_names)
    if any(file.name.startswith("instances_") for file in found):  # not keypoints and captions of the same images
        found = {file: names for file, names in found.items() if file.name.startswith("instances_")}
    certainty = LESS_CERTAIN if any(has_lvis_keys(_ends(file)) for file in found) else CERTAINTY
    return describe_files(found, path, "coco", "images, annotations and categories", certainty)


def find_files(path: Path, image_names: Callable[[bytes], Sequence[str] | None]) -> dict[Path, Sequence[str]]:
    """The JSON files of a format, each with the names of its first images.

    Args:
        path: a file, or a folder that is searched two levels deep.
        image_names: returns these names from the beginning and end of a file; None if the file is another.
    """
    found: dict[Path, Sequence[str]] = {}
    for file in _json_files(path) if path.is_dir() else [path]:
        try:
            names = image_names(_ends(file))
        except OSError:
            continue
        if names is not None:
            found[file] = names
    return found


def describe_files(
    found: Mapping[Path, Sequence[str]], path: Path, format: str, keys: str, certainty: float
) -> Recognition | None:
    """The recognition of :func:`find_files`' files, a split each; None if there are no files.

    Args:
        found: the files.
        path: the file, or the folder that holds them.
        format: name of the format.
        keys: what the files have, for the reason.
        certainty: of the recognition.
    """
    if not found:
        return None
    specs = {
        file: {"format": format, "json": str(file.absolute()), "images": str(_image_folder(file.absolute(), names))}
        for file, names in found.items()
    }
    if not path.is_dir():
        return Recognition(specs[path], f"a JSON with {keys}", certainty=certainty)
    splits = {title: specs[file] for title, file in _split_names(list(found), path).items()}
    first = find_split(splits, "train") or next(iter(splits))
    spec = splits[first]
    if len(found) == 1 and split_word(first) is None:
        splits = {}
    listed = first_few([file.relative_to(path).as_posix() for file in found], 3)
    plural = "a JSON" if len(found) == 1 else f"{len(found)} JSON files"
    return Recognition(spec, f"{plural} with {keys}: {listed}", splits, certainty)


def has_lvis_keys(text: bytes) -> bool:
    """Whether the beginning and end of a file have keys that only LVIS's files have."""
    return b'"neg_category_ids"' in text or (b'"synset"' in text and b'"frequency"' in text)


def values_of(key: str, text: bytes) -> list[str]:
    """The texts that a key has in JSON, in their order."""
    found = re.findall(rf'"{key}"\s*:\s*("(?:[^"\\]|\\.)*")'.encode(), text)
    return [value for value in map(_decoded, found) if value]


def _json_files(root: Path) -> list[Path]:
    """JSON files that may be COCO's: in the folder, and up to two levels below."""
    level, folders = [root], [root]
    for _ in range(2):
        level = [child for folder in level for child in sub_folders(folder, 50)][:50]
        folders += level
    files: list[Path] = []
    for folder in folders:
        found = files_in(folder, ".json", MAX_FILES + 1)
        likely = [file for file in found if re.search(r"annotation|instances|coco", file.name, re.IGNORECASE)]
        files += found if len(found) <= MAX_FILES else likely
    return files[:MAX_FILES]


def _ends(file: Path) -> bytes:
    """The first and last bytes of a file."""
    with open(file, "rb") as stream:
        head = stream.read(PEEKED_BYTES)
        stream.seek(0, 2)
        if stream.tell() > 2 * PEEKED_BYTES:
            stream.seek(-PEEKED_BYTES, 2)
            return head + b"\n" + stream.read()
        stream.seek(len(head))
        return head + stream.read()


def _coco_names(text: bytes) -> list[str] | None:
    """The first file names in a COCO file of objects; None if the file is another."""
    if not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return None
    names = values_of("file_name", text)
    has_list = re.search(rb'"images"\s*:\s*\[', text) is not None
    has_objects = re.search(rb'"annotations"\s*:\s*\[', text) is not None or b'"category_id"' in text
    if any(key in text for key in _OTHER_TASKS) or not has_objects or not (has_list or names):
        return None
    return names


def _decoded(text: bytes) -> str:
    try:
        name = json.loads(text)
    except ValueError:
        return ""
    return name if isinstance(name, str) else ""


def _image_folder(file: Path, names: Sequence[str]) -> Path:
    """The folder near a COCO file that holds its images; the file's own folder if none does."""
    names = [name for name in names if not leads_out(name)][:MAX_NAMES]
    tag = _KIND.sub("", file.stem)
    words = [word for word in (tag, file.stem, split_word(file.stem)) if word]
    folders: list[Path] = []
    for base in (file.parent, file.parent.parent):
        folders += [base / word for word in words] + [base / "images" / word for word in words]
        folders += [base / word / "images" for word in words]
        folders += [base, base / "images"]
    for base in (file.parent, file.parent.parent):
        folders += sub_folders(base, 50)
    best, most = file.parent, 0
    for folder in dict.fromkeys(folders):
        count = sum(os.path.exists(folder / name) for name in names) if folder.is_dir() else 0
        if count > most:
            best, most = folder, count
        if most and most == len(names):
            break
    return best


def _split_names(files: Sequence[Path], root: Path) -> dict[str, Path]:
    """A name for each file: the split that its name or folder names, else the name itself."""
    folder_words = {file: split_word(file.parent.name) if file.parent != root else None for file in files}
    short = {file: split_word(file.stem) or folder_words[file] or file.stem for file in files}
    if len(set(short.values())) == len(files):
        return {name: file for file, name in short.items()}
    stems = {file: _KIND.sub("", file.stem) for file in files}
    if len(set(stems.values())) == len(files):
        return {name: file for file, name in stems.items()}
    return {file.relative_to(root).with_suffix("").as_posix(): file for file in files}
