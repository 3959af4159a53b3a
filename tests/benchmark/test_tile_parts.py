"""The part ``tiles``: merged tiles equal the scene, peers have a column, memory is measured."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from segkit.benchmark import sides, tile_peers, tiles
from segkit.benchmark.options import Options
from segkit.benchmark.report import OWN
from segkit.benchmark.run import run_parts

SMALL = {"objects": 12, "size": (150, 180), "object_sides": (8, 20), "runs": 1, "memory": False}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    for name, value in {"TILE": 64, "OVERLAP": 24, "PEER_TILE": 64, "PEER_OVERLAP": 24}.items():
        monkeypatch.setattr(tiles, name, value)
    monkeypatch.setattr(sides, "SHORTEST_TURN", 0.0)


def rows_of(report):
    return {row.work: row.values for row in report.rows}


def test_merged_tiles_are_the_scene_and_peers_have_a_column(monkeypatch):
    monkeypatch.setattr(tile_peers, "MODULES", {"half": "json", "other": "not_installed_anywhere"})
    half = {"half": lambda found, windows, size: lambda: tiles.merge_tiles(found, windows, size).to_rle()[::2]}
    monkeypatch.setattr(tile_peers, "STEPS", half)
    (report,) = run_parts(["tiles"], Options(**SMALL))
    rows = rows_of(report)
    title = "12 objects in 150 x 180"
    assert {f"merge, {title}", f"write the label map, {title}"} <= rows.keys()
    assert rows[f"equal to the untiled, {title}"] == {OWN: 100, "half": 50}
    assert rows[f"objects, {title}"] == {OWN: 12, "half": 6}
    assert "other is not measured: it is not installed" in report.notes
    assert any("masks of the image's size would take" in note for note in report.notes)


def test_tiles_of_the_scene_are_cut_to_them():
    found, windows, truth = tiles.make_tiles(Options(**SMALL), 64, 24)
    assert len(found) == len(windows) == 16 and len(truth) == 12
    for one, (x0, y0, x1, y1) in zip(found, windows.tolist(), strict=True):
        expected = truth.to_dense()[:, y0:y1, x0:x1]
        assert one.masks.to_dense().sum() == expected.sum() and len(one) == expected.any(2).any(1).sum()


def test_memory_is_that_of_a_process(monkeypatch, capsys):
    options = json.dumps(asdict(Options(**SMALL)))
    tiles.main(options)
    assert float(capsys.readouterr().out.splitlines()[-1]) >= 0
    for answer, row, note in (([5e6], {OWN: 5.0}, None), ("no luck", None, "no luck")):
        monkeypatch.setattr(tiles, "figures_of", lambda module, text, answer=answer: answer)
        report = tiles.run(Options(**{**SMALL, "memory": True}))
        work = "memory of merging and writing, 12 objects in 150 x 180"
        assert rows_of(report).get(work) == row and any(str(note) in text for text in report.notes) == (
            note is not None
        )
