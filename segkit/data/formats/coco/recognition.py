"""Recognises COCO files in a folder, and finds the images of each.

The layouts that people have: ``annotations/instances_train2017.json`` beside ``train2017/`` or ``images/train2017/``,
Roboflow's ``train/_annotations.coco.json`` beside the images, and one JSON beside its images or their folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.data.formats.folder_contents import files_in, sub_folders
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.split_names import find_split, split_word
from segkit.utils.paths.missing_files import leads_out

PEEKED_BYTES = 1 << 18  # read from each end of a file
MAX_FILES = 40  # JSON files that are looked at; a folder of more is one of a JSON an image
CERTAINTY = 0.9
_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
_OTHER_TASKS = (b'"segments_info"', b'"caption"')
_LVIS = b'"not_exhaustive_category_ids"'
_KIND = re.compile(r"^(instances|person_keypoints|captions|panoptic|image_info|stuff)_")


def recognize_coco(path: Path) -> Recognition | None:
    """Recognises a COCO file, or a folder with such files."""
    if not path.is_dir():
        names = _coco_names(path)
        if names is None:
            return None
        return Recognition(
            _spec(path, names), "a JSON with images, annotations and categories", certainty=_certainty(path)
        )
    found = {file: names for file in _json_files(path) if (names := _coco_names(file)) is not None}
    if any(file.name.startswith("instances_") for file in found):  # not keypoints and captions of the same images
        found = {file: names for file, names in found.items() if file.name.startswith("instances_")}
    if not found:
        return None
    specs = {file: _spec(file, names) for file, names in found.items()}
    titles = _split_names(list(found), path)
    splits = {title: specs[file] for title, file in titles.items()}
    first = find_split(splits, "train") or next(iter(splits))
    if len(found) == 1 and split_word(first) is None:
        spec, splits = next(iter(specs.values())), {}
    else:
        spec = splits[first]
    listed = ", ".join(file.relative_to(path).as_posix() for file in list(found)[:3]) + (
        ", ..." if len(found) > 3 else ""
    )
    plural = "a JSON" if len(found) == 1 else f"{len(found)} JSON files"
    reason = f"{plural} with images, annotations and categories: {listed}"
    return Recognition(spec, reason, splits, min(map(_certainty, found)))


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


def _coco_names(file: Path) -> list[str] | None:
    """The first file names in a COCO file of objects; None if the file is another."""
    try:
        text = _ends(file)
    except OSError:
        return None
    if not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return None
    has_list = re.search(rb'"images"\s*:\s*\[', text) is not None
    names = [_decoded(name) for name in _NAME.findall(text)]
    has_objects = re.search(rb'"annotations"\s*:\s*\[', text) is not None or b'"category_id"' in text
    if any(key in text for key in _OTHER_TASKS) or not has_objects or not (has_list or names):
        return None
    return [name for name in names if name and not leads_out(name)][:20]


def _certainty(file: Path) -> float:
    """That of LVIS's files, which a format of their own reads, is lower."""
    return CERTAINTY - 0.2 if _LVIS in _ends(file) else CERTAINTY


def _decoded(text: bytes) -> str:
    try:
        name = json.loads(text)
    except ValueError:
        return ""
    return name if isinstance(name, str) else ""


def _spec(file: Path, names: Sequence[str]) -> dict[str, Any]:
    file = file.absolute()
    return {"format": "coco", "json": str(file), "images": str(_image_folder(file, names))}


def _image_folder(file: Path, names: Sequence[str]) -> Path:
    """The folder near a COCO file that holds its images; the file's own folder if none does."""
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
        count = sum((folder / name).is_file() for name in names) if folder.is_dir() else 0
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
