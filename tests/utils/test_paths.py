from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest
from iopath.common.file_io import HTTPURLHandler

from segkit.utils.errors import SegkitError
from segkit.utils.paths import PATHS, local_path, packaged_configs


def test_local_files_and_folders(tmp_path, monkeypatch):
    (tmp_path / "image.png").write_text("x")
    assert local_path(tmp_path / "image.png", "image") == tmp_path / "image.png"
    assert local_path(str(tmp_path), "folder") == tmp_path
    monkeypatch.chdir(tmp_path)
    assert local_path("image.png").read_text() == "x"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/image.png") == tmp_path / "image.png"


def test_packaged_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert local_path("segkit://quickstart.yaml") == packaged_configs() / "quickstart.yaml"
    assert PATHS.exists("segkit://_base_") and PATHS.isdir("segkit://_base_") and not PATHS.isfile("segkit://nothing")
    assert "quickstart.yaml" in PATHS.ls("segkit://")
    with PATHS.open("segkit://quickstart.yaml") as file:
        assert "model" in file.read()
    with pytest.raises(
        SegkitError, match=r"^the config 'segkit://quickstat\.yaml' does not exist; .*'quickstart\.yaml'"
    ):
        local_path("segkit://quickstat.yaml", "config")


def test_a_missing_path_says_what_is_beside_it(tmp_path):
    for name in ("train.json", "train.png", "other"):
        (tmp_path / name).write_text("")
    with pytest.raises(
        SegkitError, match=r"^the annotation file '.*trian\.json' does not exist; did you mean 'train\.json'"
    ) as caught:
        local_path(tmp_path / "trian.json", "annotation file")
    assert caught.value.value == str(tmp_path / "trian.json")
    with pytest.raises(SegkitError, match=r"does not exist$"):
        local_path(tmp_path / "zzz")
    (tmp_path / "images").mkdir()
    with pytest.raises(SegkitError, match=r": there is no folder '.*image'; did you mean 'images'\?$"):
        local_path(tmp_path / "image" / "a" / "b.png")
    with pytest.raises(SegkitError, match=r"^the path of the image is empty$"):
        local_path("", "image")


def test_detectron2s_zoo_is_a_url(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        HTTPURLHandler, "_get_local_path", lambda self, path, force, **_: asked.append(path) or str(tmp_path)
    )
    assert local_path("detectron2://ImageNetPretrained/MSRA/R-50.pkl") == tmp_path
    assert asked == ["https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl"]


def test_urls_are_downloaded_once_and_failures_are_errors(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    served: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.append(self.path)
            found = self.path == "/a.txt"
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", "2" if found else "0")
            self.end_headers()
            self.wfile.write(b"hi" if found else b"")

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1")
        try:
            first, second = local_path(f"{url}/a.txt", "weights"), local_path(f"{url}/a.txt", "weights")
            assert isinstance(first, Path) and first == second and first.read_text() == "hi" and served == ["/a.txt"]
            with pytest.raises(SegkitError, match=r"^cannot get the weights 'http://.*/b\.txt': .*404"):
                local_path(f"{url}/b.txt", "weights")
        finally:
            server.shutdown()
