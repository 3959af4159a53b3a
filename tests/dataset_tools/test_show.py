"""``segkit dataset show``: the page's content, its safety, and, where there is a browser, that it opens without errors."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from segkit import SegkitError
from segkit.cli.main import main
from segkit.data import Dataset
from segkit.dataset_tools.gallery.shapes import shapes
from segkit.dataset_tools.gallery.show import show
from segkit.dataset_tools.writing import make_output, write_splits
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.structures.targets import ALL_CLASSES

EVIL = "<script>alert('x')</script>&\"c"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Squares(Dataset):
    """Image i has i squares, a crowd region and a box without a mask; classes have hostile names."""

    def __init__(self, count: int, first_id: int) -> None:
        self.classes, self.category_ids = [EVIL, "b"], [1, 2]
        self.image_ids = [first_id + i for i in range(count)]

    def load(self, index: int) -> Sample:
        masks = torch.zeros(index + 2, 40, 50, dtype=torch.bool)
        for i in range(index + 1):
            masks[i, 2 * i : 2 * i + 8, 5 : 20 + i] = True
        objects = InstanceMasks.from_dense(masks)
        boxes = objects.boxes()
        boxes[-1] = torch.tensor([1.5, 2.0, 30.0, 20.0])
        labels, crowd = torch.zeros(index + 2, dtype=torch.int64), torch.zeros(index + 2, dtype=torch.bool)
        crowd[0], labels[-1] = True, 1
        has_mask = masks.flatten(1).any(1)
        image = torch.full((3, 40, 50), 90, dtype=torch.uint8)
        return Sample(image, Targets(boxes, labels, objects, crowd, has_mask), self.image_ids[index], "x", (40, 50))

    def label_counts(self, index: int) -> dict[int, int]:
        return {0: index + 1, 1: 1}


class Page(HTMLParser):
    """Tags with their attributes, in order, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text, self.open, self.depth = "", "", 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open = tag

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        self.text += "" if self.open in ("script", "style") else data

    def find(self, tag: str, kind: str = "") -> list[dict]:
        return [
            a for name, a in self.tags if name == tag and kind in (a.get("class") or "").split() + [""] * (not kind)
        ]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("show")
    write_splits({"train": Squares(3, 1), "val": Squares(1, 9)}, {"format": "coco"}, make_output(folder / "data"))
    return folder / "data"


def made(data, tmp_path, **arguments) -> Page:
    show(str(data), str(tmp_path / "page.html"), **arguments)
    return Page((tmp_path / "page.html").read_text())


def test_everything_is_on_the_page(data, tmp_path, capsys):
    main(["dataset", "show", str(data), "--output", str(tmp_path / "page.html")])
    assert "4 of 4 images" in capsys.readouterr().out
    page = Page((tmp_path / "page.html").read_text())
    assert len(page.find("article")) == 4 and len(page.find("script")) == 1
    assert [a["data-split"] for a in page.find("article")] == ["train"] * 3 + ["val"]
    assert len(page.find("path", "mask")) == 1 + 2 + 3 + 1 and len(page.find("rect", "only")) == 4
    assert len(page.find("g", "crowd")) == 4 and len(page.find("g", "c1")) == 4
    assert all(a["src"].startswith("data:image/png;base64,") for a in page.find("img"))
    assert page.text.count(EVIL) >= 5  # the class's button and titles: escaped, so that it is text
    urls = [value for _, a in page.tags for key, value in a.items() if key in ("src", "href", "action")]
    assert all(url.startswith("data:") for url in urls)


def test_limit_and_order(data, tmp_path):
    page = made(data, tmp_path, limit=2, sort="objects")
    assert [a["data-name"] for a in page.find("article")] == ["image_3.png", "image_2.png"]
    assert "2 of 4 images" in page.text and "--limit" in page.text


def test_faults_are_under_their_images(data, tmp_path):
    faults = [
        {
            "kind": "empty",
            "severity": "warning",
            "message": "odd",
            "split": "train",
            "image": "image_2.png",
            "object": 1,
        },
        {"kind": "empty", "severity": "error", "message": EVIL, "split": "", "image": "images/val/image_9.png"},
        {"kind": "classes", "severity": "warning", "message": "few of b", "split": "", "image": ""},
    ]
    (tmp_path / "faults.json").write_text(json.dumps(faults))
    page = made(data, tmp_path, check=str(tmp_path / "faults.json"))
    assert [a["data-name"] for a in page.find("article")][:2] == ["image_9.png", "image_2.png"]
    assert ["data-faulty" in a for a in page.find("article")] == [True, True, False, False]
    assert "Faults of the whole data set: 1" in page.text and len(page.find("li", "error")) == 1 and EVIL in page.text
    (tmp_path / "faults.json").write_text(json.dumps({"faults": faults, "ok": False}))
    assert len(made(data, tmp_path, check=str(tmp_path / "faults.json")).find("li")) == 3


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ("[1]", "no list of faults"), ("{}", "no list of faults")]
)
def test_other_files_are_no_faults(data, tmp_path, text, message):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(SegkitError, match=message):
        made(data, tmp_path, check=str(tmp_path / "f.json"))


def test_faults_are_needed_to_sort_by_them(data, tmp_path):
    with pytest.raises(SegkitError, match="--check FILE"):
        made(data, tmp_path, sort="check")


def test_a_full_disk(data, tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segkit.dataset_tools.gallery.show.atomic_write", full)
    with pytest.raises(SegkitError, match=r"--output: '.*a\.html' cannot be written: No space left"):
        show(str(data), str(tmp_path / "a.html"))


def test_the_page_is_bounded(data, tmp_path, monkeypatch):
    monkeypatch.setattr("segkit.dataset_tools.gallery.show.MAX_BYTES", 3000)
    page = made(data, tmp_path)
    assert 0 < len(page.find("article")) < 4 and "too large" in page.text


def test_an_unreadable_image_has_a_card(tmp_path):
    for name in "ab":
        Image.fromarray(np.full((8, 9, 3), 90, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:40])
    page = made(tmp_path, tmp_path)
    assert len(page.find("article")) == 2 and len(page.find("img")) == 1 and len(page.find("li", "error")) == 1


def test_an_unreadable_annotation_is_the_last_of_the_fullest(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / f"d.v2/{name}").mkdir(parents=True)
        Image.fromarray(np.full((8, 9, 3), 90, np.uint8)).save(tmp_path / f"d.v2/{name}/image.png")
        Image.fromarray(np.eye(8, 9, dtype=np.uint8)).save(tmp_path / f"d.v2/{name}/class1.png")
    (tmp_path / "d.v2/a/class1.png").write_bytes((tmp_path / "d.v2/a/class1.png").read_bytes()[:40])
    monkeypatch.chdir(tmp_path)
    assert show("d.v2", sort="objects").startswith("d.v2.html: 2 of 2 images")
    page = Page((tmp_path / "d.v2.html").read_text())
    assert [a["data-name"] for a in page.find("article")] == ["b/image.png", "a/image.png"]
    assert len(page.find("li", "error")) == 1


def test_ignore_regions_are_named():
    objects = InstanceMasks.from_dense(torch.ones(1, 20, 20, dtype=torch.bool))
    targets = Targets(objects.boxes(), torch.tensor([ALL_CLASSES]), objects, torch.tensor([True]))
    (shape,) = shapes(targets, ["a"], (20, 20), (20, 20))
    assert (shape.label, shape.kind) == ("x", "ignore") and "ignored" in shape.title
    assert shape.path == "M0 0l300 0 0 300-300 0z" and shape.box == (0, 0, 300, 300)


def test_a_browser_opens_the_page(data, tmp_path):
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    made(data, tmp_path)
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    words = [browser, *options, "--enable-logging=stderr", "--dump-dom", (tmp_path / "page.html").as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert re.search(r"<body[^>]* data-ready", done.stdout), done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
