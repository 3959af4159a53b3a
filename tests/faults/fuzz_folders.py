"""Fuzzes recognition: folders of every format with files removed, renamed, moved, copied, linked and damaged.

Each is recognised and opened, or one SegkitError. Every fourth is a ``splits.json`` with its lists.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from format_examples import EXAMPLES
from fuzz_files import damaged, mutated_json, odd_mask
from mutations import change

from segkit.data.formats import build_dataset, recognize
from segkit.utils.errors import SegkitError

TITLES = sorted(EXAMPLES)
NAMES = [
    "train", "images", "masks", "a.json", "data.yaml", "annotations.xml", "splits.json", "a.txt", "a.PNG", "a.jpg", "a.roi",
    "a_masks.png", "x.zarr", "._a.png", "Thumbs.db", "class1.png", "image.png", "ä b.tif", "INCOMPLETE.txt",
]  # fmt: skip


def try_folder(seed, folder):
    draw = random.Random(seed)
    root = Path(folder) / "folders" / "data"
    shutil.rmtree(root.parent, ignore_errors=True)
    root.mkdir(parents=True)
    EXAMPLES["lists of image names" if seed % 4 == 0 else draw.choice(TITLES)].fill(root)
    for _ in range(draw.choice([1, 1, 2, 4])):
        mutate(root, draw)
    try:
        found = recognize(root)
        for spec in (found.spec, *found.splits.values()):
            dataset = build_dataset(spec)
            dataset.load(0)
            assert dataset.summary()
    except SegkitError as error:
        assert str(error)
        return False
    return True


def mutate(root, draw):
    """Changes one file or folder below a folder; links are made and deleted, but never followed."""
    paths = sorted(path for path in root.rglob("*") if not any(p.is_symlink() for p in (path, *path.parents)))
    if not paths:
        return
    path = draw.choice(paths)
    way = draw.choice(["delete", "move", "copy", "link", "change", "change", "replace"])
    if way == "delete":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif way in ("move", "copy"):
        _place(path, draw.choice([p for p in (root, *paths) if p.is_dir()]) / draw.choice([path.name, *NAMES]), way)
    elif way == "link":
        folder = path if path.is_dir() else path.parent
        name = draw.choice(["link", "b.png", "train", "masks"])
        if not (folder / name).exists() and not (folder / name).is_symlink():
            (folder / name).symlink_to(draw.choice([".", "..", "none.png", name, path.name]))
    elif path.is_file():
        path.write_bytes(odd_mask(draw) if way == "replace" else _changed(path.read_bytes(), path.suffix, draw))


def _place(path, target, way):
    """Moves or copies a file or folder to a path that is free."""
    if target.exists() or target.is_symlink() or target.is_relative_to(path):
        return
    if way == "move":
        path.rename(target)
    elif path.is_dir():
        shutil.copytree(path, target, symlinks=True)
    else:
        shutil.copy(path, target)


def _changed(content, suffix, draw):
    """Bytes with a few changed; those of a JSON file often in its tree."""
    if suffix == ".json" and draw.random() < 0.7:
        try:
            tree = json.loads(content)
        except (ValueError, RecursionError):  # damaged before
            return damaged(content, draw)
        if isinstance(tree, dict) and tree:
            return mutated_json(tree, draw, change)
    return damaged(content, draw)
