"""The rows of the part ``data`` on channels, windows and checks, at a tiny size."""

import sys
from types import SimpleNamespace

import pytest
import tifffile

from segkit.benchmark import data, data_channels, data_check, data_loading, data_windows
from segkit.benchmark.data_check import Process, check_words, measure_check, run_process
from segkit.benchmark.options import Options
from segkit.benchmark.report import OWN, Report
from segkit.utils.images import image_file
from segkit.utils.images.image_file import ImageFile

OPTIONS = Options(batch=1, objects=3, size=(64, 96), runs=1, annotations=40, slide=700, checked_images=2)


def rows(report):
    return {row.work: row.values for row in report.rows}


def test_windows_are_equal_and_timed(monkeypatch, tmp_path):
    pytest.importorskip("zarr")
    monkeypatch.setattr(data_windows, "figures_of", lambda module, key, file, side: [3 * 2**20, 1.0])
    monkeypatch.setattr(data_windows, "measure_loading", lambda *_: None)

    def read(self, window=None):  # of any version: cut from the whole image
        x0, y0, x1, y1 = window
        return SimpleNamespace(pixels=tifffile.imread(self.path)[y0:y1, x0:x1])

    monkeypatch.setattr(ImageFile, "read", read)
    report = Report.of("data", "", OPTIONS)
    data_windows.measure_windows(OPTIONS, report)
    found = rows(report)
    title = "a 512 window of 700 x 700 pixels"
    assert set(found[title]) == {OWN, data_windows.ZARR} and all(value > 0 for value in found[title].values())
    ratio = found[f"{title}: segkit's time by {data_windows.ZARR}'s"][OWN]
    assert ratio == pytest.approx(found[title][OWN] / found[title][data_windows.ZARR])
    assert found[f"{title}: memory"] == {OWN: 3, data_windows.ZARR: 3}
    assert not [note for note in report.notes if "differ" in note]
    data_windows.write_slide(tmp_path / "s.tif", 300)
    assert data_windows.memory_of_windows(data_windows.ZARR, tmp_path / "s.tif", 300)[0] >= 0
    monkeypatch.setattr(ImageFile, "read", lambda self, window: read(self, (0, 0, 512, 512)))
    report = Report.of("data", "", OPTIONS)
    data_windows.measure_windows(OPTIONS, report)
    assert [note for note in report.notes if "differ" in note]


def test_a_loader_of_crops_is_timed_beside_png_files(monkeypatch, tmp_path):
    monkeypatch.setattr(image_file, "LAZY_PIXELS", 100)
    for name, value in {"WORKERS": 0, "WARM_UP": 1, "BATCHES": 2, "OBJECT_AREA": 9000}.items():
        monkeypatch.setattr(data_loading, name, value)
    data_windows.write_slide(tmp_path / "s.tif", 300)
    slide, windows = data_loading.write_datasets(tmp_path / "s.tif", tmp_path, 128)
    assert slide.open(0).is_lazy and not windows.open(0).is_lazy and len(slide) == len(windows) == 6
    counts = [len(windows.targets(i)) for i in range(6)]
    assert 0 < sum(counts) < 6 * len(slide.targets(0))
    report = Report.of("data", "", OPTIONS)
    caches = []
    rate_of = data_loading.windows_a_second
    monkeypatch.setattr(
        data_loading, "windows_a_second", lambda data, side: caches.append(data.reader.cache) or rate_of(data, side)
    )
    data_loading.measure_loading(OPTIONS, report, tmp_path / "s.tif", 128)
    assert [cache is not None for cache in caches] == [False, True, False] * 2
    found = {row.work.split(": ", 1)[1]: row.values[OWN] for row in report.rows}
    assert set(found) >= {data_loading.TIFF, data_loading.CACHED, data_loading.PNG} and min(found.values()) > 0
    ratio = found[f"{data_loading.TIFF} by {data_loading.PNG}"]
    assert ratio == pytest.approx(found[data_loading.TIFF] / found[data_loading.PNG])


def test_check_is_timed_beside_its_peers(monkeypatch):
    started = []

    def fake(words):
        started.append(words)
        status = 1 if "check" in words and "--no-pixels" in words else 0  # 1: errors were found
        return Process(seconds=len(started), peak=2**20, status=status, output="a report")

    monkeypatch.setattr(data_check, "run_process", fake)
    report = Report.of("data", "", OPTIONS)
    measure_check(OPTIONS, report)
    found = rows(report)
    title = "check of 40 annotations"
    assert found[title] == {OWN: 1, "pycocotools": 2, "hotcoco": 3} and found[f"{title}: memory"][OWN] == 1
    assert found[f"{title}: segkit's time by pycocotools's"] == {OWN: 0.5}
    assert found["check of 2 images of 64 x 96 with pixels"] == {OWN: 4}
    assert ["--no-pixels" in words for words in started] == [True, False, False, False]


def test_failures_are_notes(monkeypatch):
    monkeypatch.setattr(data_check, "run_process", lambda words: Process(1, 0, 0, ""))
    report = Report.of("data", "", OPTIONS)
    measure_check(OPTIONS, report)
    assert OWN not in rows(report)["check of 40 annotations"] and "printed nothing" in " ".join(report.notes)
    with data.failure_noted(report, "this"):
        raise ZeroDivisionError("by 0")
    assert report.notes[-1] == "this is not measured: ZeroDivisionError: by 0"


def test_a_process(tmp_path):
    done = run_process([sys.executable, "-c", "import sys; print('x'); sys.exit(3)"])
    assert (done.status, done.output.strip()) == (3, "x") and done.seconds > 0
    assert check_words(tmp_path / "a.json", "--no-pixels")[-3:] == ["check", str(tmp_path / "a.json"), "--no-pixels"]


def test_tiffs_of_four_channels(tmp_path):
    for name in ("png", "tiff"):
        (tmp_path / name).mkdir()
    data.prepare(OPTIONS, tmp_path / "png")
    data_channels.write_tiffs(tmp_path / "png", tmp_path / "tiff")
    pixels = tifffile.imread(tmp_path / "tiff" / "0.tif")
    assert pixels.shape == (64, 96, 4) and str(pixels.dtype) == "uint16"
    assert '"0.tif"' in (tmp_path / "tiff" / data.JSON_NAME).read_text()


def test_memory_is_that_of_the_process_alone():
    ballast = bytearray(200 * 2**20)  # of this process, which the other one has not
    assert len(ballast) and 0 < run_process([sys.executable, "-I", "-S", "-c", ""]).peak < 100 * 2**20
