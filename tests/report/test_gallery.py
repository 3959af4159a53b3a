"""The gallery's fragment: its data, its safety, its size, and which images it chooses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from segkit import SegkitError
from segkit.diagnosis.findings import Example
from segkit.evaluation.greedy_matching import match_detections
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps
from segkit.evaluation.overlaps import Overlaps
from segkit.report.gallery import GALLERY_CSS, GALLERY_JS, GalleryGroup, gallery, image_groups, image_score
from segkit.report.gallery.records import SCORE_STEPS, run_record, score_steps
from segkit.report.gallery.scenes import crop_window
from segkit.structures import Sample
from segkit.utils.images import LazyImage
from tests.report.gallery_runs import EVIL, Cells, make_cells_run


class Fragment(HTMLParser):
    """Tags with their attributes, the JSON of script blocks, and all other text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.text, self.inside = "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)
        else:
            self.text += data

    @property
    def data(self) -> dict:
        (script,) = self.scripts
        return json.loads(script)

    def find(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run():
    return make_cells_run(Cells(5))


def false_examples(run) -> list[Example]:
    found = []
    for image in run.overlaps().images:
        false = np.flatnonzero(match_detections(image, [0.5]).false_positives[0])
        found += [Example(image.image_id, None, int(d)) for d in false[:1]]
    return found


def test_hostile_names_are_escaped(run):
    text = gallery(run, [GalleryGroup(EVIL, EVIL, [10, 11], "a<b")], score_threshold=0.5)
    page = Fragment(text)
    assert page.find("script") == [{"type": "application/json"}]
    assert "</script><script>" not in text and "\u2028" not in page.scripts[0]
    assert not re.search(r"[<>&]", page.scripts[0])
    assert page.data["classes"] == [EVIL, "b"] and page.data["runs"] == ["run <i>A</i>"]
    assert not page.find("i") and page.text.count("alert('x')") >= 3
    assert {"class": "g-group", "id": "a<b"} in page.find("section")
    assert all(not name.startswith("on") and name != "style" for _, one in page.tags for name in one)


def test_scripts_and_styles_cannot_end_early():
    for text in (GALLERY_JS, GALLERY_CSS):
        assert not re.search(r"</|<!--|https?:", text)


def test_an_image_in_several_groups_is_in_the_page_once(run):
    groups = [
        GalleryGroup("a", "", [10, 11]),
        GalleryGroup("b", "", [11, 10]),
        GalleryGroup("c", "", false_examples(run)),
    ]
    data = Fragment(gallery(run, groups, score_threshold=0.5)).data
    assert len(data["images"]) == 5 and len(data["items"]) == 4 + len(false_examples(run))
    pictures = [scene["px"] for scene in data["scenes"]]
    assert len(set(pictures)) == len(pictures)
    # A crop of an image that is also shown whole is a part of its picture.
    crop = next(item for item in data["items"] if "f" in item and data["scenes"][item["s"]]["i"] == 0)
    assert data["scenes"][crop["s"]]["v"] == [0, 0, 48, 48] and crop["d"] is not None


def test_crops_have_all_of_their_objects_and_only_these():
    run = make_cells_run(Cells(1, grid=20))
    (scene,) = Fragment(gallery(run, [GalleryGroup("x", "", [Example(10, 45, None)])], score_threshold=0.5)).data[
        "scenes"
    ]
    x, y, w, h = scene["v"]
    assert (w, h) == (96, 96) and x <= 60 and y <= 24
    for path, item in zip(scene["t"], run.ground_truth(10), strict=True):
        x0, y0, width, height = item["bbox"]
        inside = x0 < x + w and y0 < y + h and x0 + width > x and y0 + height > y
        assert (path is not None) == inside


def test_windows_of_crops_stay_in_the_image():
    assert crop_window((0, 0, 10, 10), (400, 300)) == (0, 0, 96, 96)
    assert crop_window((280, 390, 300, 400), (400, 300)) == (204, 304, 300, 400)
    assert crop_window((50, 100, 150, 140), (400, 300)) == (0, 0, 300, 350)


def test_a_threshold_of_six_decimals_is_exact():
    generator = np.random.default_rng(0)
    edges = generator.integers(0, SCORE_STEPS + 1, 2000) / SCORE_STEPS
    scores = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 1), generator.random(2000)])
    steps = score_steps(scores)
    for k in (290_000, 570_000, 580_000, *(edges[:200] * SCORE_STEPS).round().astype(int).tolist()):
        assert ((steps >= k) == (scores >= k / SCORE_STEPS)).all()


def walk(record: dict, steps: int) -> dict[int, int]:
    """What the page's script does with the pairs."""
    matched: dict[int, int] = {}
    for d, o, _ in zip(*[iter(record["p"])] * 3, strict=True):
        if record["q"][d] >= steps and d not in matched and o not in matched.values():
            matched[d] = o
    return matched


def above(image: ImageOverlaps, threshold: float) -> tuple[ImageOverlaps, np.ndarray]:
    """The overlaps of the detections from a score, and which these are."""
    kept = image.scores >= threshold
    pairs = image.overlaps.select(np.ones(len(image.object_ids), bool), kept)
    names = ("labels", "scores", "boxes", "ignored_shares")
    return replace(image, overlaps=pairs, **{n: getattr(image, n)[kept] for n in names}), np.flatnonzero(kept)


def test_pairs_of_the_page_yield_the_matches_at_each_threshold(run):
    for image in run.overlaps().images:
        record = run_record(image, [0] * 16, class_agnostic=False, ap=None)
        for threshold in (0.0, 0.1, 0.29, 0.3, 0.5, 0.57, 0.58, 0.9):
            kept, indices = above(image, threshold)
            matches = match_detections(kept, [0.5])
            expected = {
                int(indices[d]): int(image.object_ids[o]) for d, o in enumerate(matches.objects[0].tolist()) if o >= 0
            }
            found = walk(record, round(threshold * SCORE_STEPS))
            assert found == expected
            false = {int(d) for d in indices if d not in found and d not in record["g"]}
            assert false == set(indices[matches.false_positives[0]].tolist())


def test_matches_have_the_colour_of_their_object_and_neighbours_differ():
    run = make_cells_run(Cells(1, grid=6))
    (image,) = Fragment(gallery(run, [GalleryGroup("x", "", [10])], score_threshold=0.5)).data["images"]
    hues, (record,) = image["t"]["c"], image["r"]
    assert all(record["c"][d] == hues[o] for d, o in walk(record, 0).items())
    for k in range(36):
        assert k % 6 == 5 or hues[k] != hues[k + 1]
        assert k >= 30 or hues[k] != hues[k + 6]


def test_a_page_that_would_be_too_large_says_what_is_missing(run):
    groups = [GalleryGroup("a", "", [10, 11, 12]), GalleryGroup("b", "", [13, 14])]
    text = gallery(run, groups, score_threshold=0.5, max_bytes=34_000)
    data = Fragment(text).data
    assert len(text) < 34_000 and 1 <= len(data["items"]) < 5
    assert data["images"][0]["n"].startswith("<b>image0")
    missing = [int(n) for n in re.findall(r"(\d+) more picture", text)]
    assert sum(missing) == 5 - len(data["items"])


def test_images_that_cannot_be_read_are_counted(run, monkeypatch):
    whole = Cells.load

    def load(self, index):
        if index == 1:
            raise SegkitError("broken file")
        return whole(self, index)

    run.overlaps()
    monkeypatch.setattr(Cells, "load", load)
    text = gallery(run, [GalleryGroup("a", "", [10, 11])], score_threshold=0.5)
    assert "1 picture is missing, because the image cannot be read" in text and len(Fragment(text).data["items"]) == 1
    with pytest.raises(SegkitError, match=r"no image with the id 99"):
        gallery(run, [GalleryGroup("a", "", [99])], score_threshold=0.5)


@pytest.mark.parametrize(("channels", "dtype"), [(1, torch.uint8), (5, torch.float32), (3, torch.float32)])
def test_images_of_any_channels(channels, dtype):
    run = make_cells_run(Cells(1, channels=channels, dtype=dtype))
    (scene,) = Fragment(gallery(run, [GalleryGroup("x", "", [10])], score_threshold=0.5)).data["scenes"]
    assert scene["px"].startswith("data:image/png;base64,") and scene["sm"] == 1


class Noise:
    """Reads windows of a large image."""

    def read(self, path):
        raise AssertionError("the whole image is not read")

    def read_window(self, path, window):
        x0, y0, x1, y1 = window
        return torch.randint(0, 255, (3, y1 - y0, x1 - x0), dtype=torch.uint8)


class Slide(Cells):
    """One large image that is read by window."""

    def load(self, index: int) -> Sample:
        sample = super().load(index)
        image = LazyImage(Noise(), "slide", sample.size, 3)
        return Sample(image, sample.targets, sample.image_id, sample.file_name, sample.size)


def test_large_images_are_reduced_and_their_crops_are_sharp():
    run = make_cells_run(Slide(1, grid=12, cell=100))
    groups = [GalleryGroup("x", "", [10]), GalleryGroup("y", "", [Example(10, 40, None)])]
    whole, crop = Fragment(gallery(run, groups, score_threshold=0.5)).data["scenes"]
    assert whole["v"] == [0, 0, 1200, 1200] and whole["u"] == pytest.approx(1024 / 1200, abs=1e-5)
    assert len(whole["px"]) < 4 / 3 * 90_000 + 40 and crop["v"][2:] == [350, 350] and crop["u"] == 1


def test_several_runs_are_side_by_side(run):
    other = make_cells_run(run.dataset, seed=1, name="B")
    del other.results[11]
    absent = replace(other, results={i: found for i, found in other.results.items() if i != 11})
    data = Fragment(gallery([run, absent], [GalleryGroup("x", "", [10, 11])], score_threshold=0.5)).data
    assert data["runs"] == ["run <i>A</i>", "B"] and len(data["scenes"][0]["r"]) == 2
    assert data["images"][1]["r"][1]["q"] == []
    different = Cells(5)
    different.classes = ["a", "b"]
    with pytest.raises(SegkitError, match="different classes"):
        gallery([run, make_cells_run(different, name="C")], [], score_threshold=0.5)


def test_worst_best_and_random_images(run):
    worst, best, drawn = image_groups(run, 2, score_threshold=0.5)
    scores = {i.image_id: image_score(i, run.dataset.classes, 0.5) for i in run.overlaps().images}
    order = sorted(scores, key=lambda i: (scores[i].f1, scores[i].ap))
    assert list(worst.items) == order[:2] and list(best.items) == order[::-1][:2]
    assert len(set(drawn.items)) == 2 and drawn.items == image_groups(run, 2)[2].items
    for one in (worst, best, drawn):
        assert all(isinstance(i, int) for i in one.items)


def image_of(scores: list[float], pairs: list[tuple[int, int]], objects: int) -> ImageOverlaps:
    """An image whose objects and detections are all of one class and area; ``pairs`` are equal masks."""
    matched = np.array(pairs, np.int64).reshape(-1, 2)
    areas = np.full(objects, 10.0), np.full(len(scores), 10.0)
    boxes = [np.tile([0.0, 0.0, 5.0, 2.0], (n, 1)) for n in (objects, len(scores))]
    return ImageOverlaps(
        7, (20, 20), Overlaps(matched[:, 0], matched[:, 1], np.full(len(matched), 10.0), *areas),
        np.zeros(objects, np.int64), boxes[0], areas[0], np.arange(objects),
        np.zeros(len(scores), np.int64), np.array(scores), boxes[1], np.zeros(len(scores)),
    )  # fmt: skip


def test_scores_of_images_by_hand():
    # Three objects; two are found, one of them below the threshold; the best detection is false.
    score = image_score(image_of([0.9, 0.8, 0.2], [(0, 1), (1, 2)], 3), ["a"], 0.5)
    assert score.f1 == pytest.approx(2 / (2 + 1 + 2))  # 1 TP, 1 FP, 2 FN
    assert score.ap == pytest.approx(67 * (2 / 3) / 101)  # precision 2/3 up to recall 2/3
    assert image_score(image_of([], [], 2), ["a"], 0.5).f1 == 0
    false = image_score(image_of([0.9, 0.2], [], 0), ["a"], 0.5)
    assert (false.f1, false.ap) == (0, None)
    empty = image_score(image_of([0.2], [], 0), ["a"], 0.5)
    assert (empty.f1, empty.ap) == (None, None)


def test_images_without_objects_and_detections_are_only_random(run):
    images = [
        replace(image_of(*spec), image_id=i) for i, spec in enumerate([([], [], 0), ([0.9], [(0, 0)], 1), ([], [], 0)])
    ]
    known = replace(run, _overlaps={"segm": DatasetOverlaps(images, ["a"], "segm", 100)})
    groups = {group.title.split()[0]: list(group.items) for group in image_groups(known, 3)}
    assert groups["Worst"] == [1] and "Best" not in groups and sorted(groups["Random"]) == [0, 1, 2]
