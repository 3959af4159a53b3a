"""Mutated configurations and annotation files: accepted, or segkit's own error, in little time and memory.

The short form runs with the suite. The long one, 10,000 of each with a limit of 5 s and 1 GB for every one of them, is
``pytest -m slow tests/faults/test_fuzz.py -s``.
"""

import copy
import functools
import json
import random
import re
import resource
import signal
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from segkit.config import load_config
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError
from segkit.utils.paths import packaged_configs

SECONDS, BYTES = 5, 1 << 30
ODD = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan"), "", " ", "a",
    "\0", "..", "/", "name", "1 epoch", "-1 epoch", "é☃", "x" * 5000, [], {}, [[]], [{}], [None], {"name": None}, {"": {}},
    {"name": "FPN"}, {"name": "SGD", "lr": []}, {"format": "coco"}, {"from_train": 2}, [1, "a", None, [2]], ["a"] * 50,
    {"a": {"b": {"c": {"d": [1]}}}}, "1e400", "0x10", "~", "[", "{}", "!!python/none", "&a", "*a", "<<", "2024-01-01",
]  # fmt: skip
NASTY = [
    "*a",
    "&a [*a]",
    "!!binary x",
    "{",
    "]",
    ":",
    "\t",
    "- - - -",
    "? ?",
    "<<: *x",
    "|",
    ">",
    "%",
    "@",
    "\u2028",
    "\x85",
    "'",
]
NASTY += ["[" * 3000, "{a: " * 1500, "- " * 2000, "1" * 5000, "9" * 400 + ".0e", "x: " * 3]


@functools.lru_cache
def texts():
    """The configurations that come with segkit, each merged with its base files, and as they are."""
    folder = packaged_configs()
    files = sorted(folder.rglob("*.yaml"))
    plain = [load_config(path).to_dict() for path in files if "_base_" not in path.parts and path.name[0] != "_"]
    return plain, [
        re.sub(r"_BASE_: (?!segkit)\S+", "_BASE_: segkit://quickstart.yaml", path.read_text()) for path in files
    ]


def places(tree, found=None):
    """Every container of a tree with each of its keys."""
    found = [] if found is None else found
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], (dict, list)):
            places(tree[key], found)
    return found


def mutated_tree(tree, draw):
    """A copy with up to five places changed: another value, gone, doubled, renamed, or another place's value."""
    tree = copy.deepcopy(tree)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        found = places(tree)
        if not found:
            break
        container, key = draw.choice(found)
        other, other_key = draw.choice(found)
        way = draw.randrange(6)
        if way <= 2:
            container[key] = copy.deepcopy(draw.choice(ODD))
        elif way == 3:
            del container[key]
        elif way == 4:
            container[key] = copy.deepcopy(other[other_key])
        elif isinstance(container, dict):
            container[draw.choice(["", "nmae", str(key).upper(), str(key)[:-1], 3])] = container.pop(key)
        else:
            container.insert(key, copy.deepcopy(container[key]))
    return tree


def mutated_text(text, draw):
    """The text with up to five of its lines or letters changed."""
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        at, end = sorted((draw.randrange(len(text) + 1), draw.randrange(len(text) + 1)))
        way = draw.randrange(4)
        if way == 0:
            text = text[:at] + draw.choice(NASTY) + text[at:]
        elif way == 1:
            text = text[:at] + text[min(at + draw.randint(1, 30), len(text)) :]
        elif way == 2:
            text = (
                text[:at]
                + chr(draw.choice([0, 9, 10, 32, 35, 38, 42, 58, 123, 0x7F, 0xFEFF, 0x1F600]))
                + text[at + 1 :]
            )
        else:
            text = text[:end] + "\n" + text[at : at + 80] + text[end:]
    return text


def try_config(seed, folder):
    """Loads one; whether it was accepted."""
    draw = random.Random(seed)
    plain, written = texts()
    if draw.random() < 0.5:
        text = yaml.safe_dump(mutated_tree(draw.choice(plain), draw), allow_unicode=True, sort_keys=False)
    else:
        text = mutated_text(draw.choice(written), draw)
    path = Path(folder) / "c.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        cfg = load_config(path)
    except SegkitError as error:
        assert str(error)
        return False
    cfg.to_yaml()
    return True


@functools.lru_cache
def annotations():
    square = [10.0, 10, 40, 10, 40, 40, 10, 40]
    common = {"iscrowd": 0, "area": 900, "bbox": [10, 10, 30, 30]}
    return {
        "info": {"year": 2020},
        "images": [{"id": i, "file_name": f"{i}.png", "height": 48, "width": 64} for i in (1, 2, 5)],
        "categories": [{"id": 1, "name": "a", "supercategory": "x"}, {"id": 3, "name": "b"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [square], **common},
            {"id": 2, "image_id": 1, "category_id": 3, "segmentation": [square, [1, 2, 3, 4, 5, 6]], **common},
            {"id": 3, "image_id": 2, "category_id": 3, **common, "iscrowd": 1,
             "segmentation": {"size": [48, 64], "counts": [100, 20, 48 * 64 - 120]}},
            {"id": 4, "image_id": 5, "category_id": 1, **common,
             "segmentation": {"size": [48, 64], "counts": "U<?Q100000000000000000000000000000000000000000kb1"}},
        ],
    }  # fmt: skip


def try_annotations(seed, folder):
    """Opens one and reads all that is in it; whether it was accepted."""
    draw = random.Random(seed)
    content = mutated_tree(annotations(), draw)
    text = json.dumps(content)
    if draw.random() < 0.3:
        text = mutated_text(text, draw)
    folder = Path(folder)
    for i in (1, 2, 5):
        if not (folder / f"{i}.png").exists():
            Image.new("RGB", (64, 48)).save(folder / f"{i}.png")
    (folder / "a.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    spec = {"format": "coco", "json": str(folder / "a.json"), "images": str(folder)}
    try:
        dataset = DATASET_FORMAT_REGISTRY.build(spec, path="data.train")
        for index in range(len(dataset)):
            dataset.ground_truth(index, dataset.load(index))
            dataset.label_counts(index)
        assert dataset.summary()
    except SegkitError as error:
        assert str(error)
        return False
    return True


TRIES = {"configs": try_config, "annotations": try_annotations}


@pytest.mark.parametrize("kind", TRIES)
def test_fuzz(kind):
    """Seeds of hypothesis' choice, which it makes small where one fails."""
    with tempfile.TemporaryDirectory() as folder:

        @settings(
            max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )  # fmt: skip
        @given(st.integers(0, 2**40))
        def run(seed):
            TRIES[kind](seed, folder)

        run()


def _too_long(number, frame):
    raise TimeoutError(f"more than {SECONDS} s")


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRIES)
def test_fuzz_10000(kind, capsys):
    texts()  # not within the first one's seconds
    accepted, failed, longest, size = 0, {}, 0.0, 0
    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before = signal.signal(signal.SIGALRM, _too_long)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, limits[1]))
    try:
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(10_000):
                started = time.process_time()
                signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)  # processor time is what is measured: others may run
                try:
                    accepted += TRIES[kind](seed, folder)
                except Exception as error:
                    failed.setdefault(f"{type(error).__name__}: {str(error)[:100]}", seed)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                longest = max(longest, time.process_time() - started)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGALRM, before)
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began
    with capsys.disabled():
        print(
            f"\n10,000 {kind}: {accepted} accepted, longest {longest:.2f} s, {size / 1024:.0f} MB more; failed: {failed}"
        )
    assert not failed and longest < SECONDS
