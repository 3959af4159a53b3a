# ruff: noqa: E501 - a case a line
from __future__ import annotations

import shutil
import sys

import pytest

from segkit.config import load_config, load_config_dict
from segkit.utils.errors import SegkitError

COMPONENT = """
from segkit.registry import BACKBONE_REGISTRY

@BACKBONE_REGISTRY.register
class MyNet:
    def __init__(self, *, size: int = 1): ...
"""
CONFIG = """
imports: [{module}]
model: {{name: Detector, backbone: {{name: {name}}}}}
data: {{train: {{format: label_map, root: r}}}}
"""


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Modules and folders of a test are gone after it."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - before:
        if name.startswith("seg_test_"):
            del sys.modules[name]


def test_found_beside_the_config(write, folder):
    write("project/seg_test_nets.py", COMPONENT)
    cfg = load_config(write("project/run.yaml", CONFIG.format(module="seg_test_nets", name="MyNet")))
    assert cfg.model.backbone == {"name": "MyNet", "size": 1}
    assert cfg.imports == ("seg_test_nets",) and cfg.imports_from == (str((folder / "project").resolve()),)
    assert sys.path[-1] == str((folder / "project").resolve()), (
        "later imports of the module are found, after everything else"
    )


def test_a_package_and_what_it_imports_beside_it(write):
    write("project/seg_test_pack/__init__.py", "")
    write("project/seg_test_pack/nets.py", "import seg_test_helper\n" + COMPONENT)
    write("project/seg_test_helper.py", "")
    cfg = load_config(write("project/run.yaml", CONFIG.format(module="seg_test_pack.nets", name="MyNet")))
    assert cfg.model.backbone.name == "MyNet"


def test_found_in_the_current_folder_then_in_imports_from(write, folder):
    write("seg_test_here.py", COMPONENT)
    write("far/seg_test_far.py", COMPONENT.replace("MyNet", "FarNet"))
    write(
        "project/run.yaml", CONFIG.format(module="seg_test_here, seg_test_far", name="FarNet") + "imports_from: [far]\n"
    )
    cfg = load_config("project/run.yaml")
    assert cfg.model.backbone.name == "FarNet"
    assert set(cfg.imports_from) >= {str(folder.resolve()), str((folder / "far").resolve())}


def test_a_saved_config_finds_them_from_elsewhere(write, folder, monkeypatch):
    write("project/seg_test_saved.py", COMPONENT)
    cfg = load_config(write("project/run.yaml", CONFIG.format(module="seg_test_saved", name="MyNet")))
    write("output/config.yaml", cfg.to_yaml())
    del sys.modules["seg_test_saved"]
    monkeypatch.chdir(folder / "output")
    assert load_config("config.yaml") == cfg
    assert "seg_test_saved" in sys.modules
    del sys.modules["seg_test_saved"]
    assert load_config_dict(cfg.to_dict()) == cfg


def test_imports_of_base_files_add_up(write):
    write("a/seg_test_a.py", COMPONENT.replace("MyNet", "NetA"))
    write("b/seg_test_b.py", COMPONENT.replace("MyNet", "NetB"))
    write("a/base.yaml", CONFIG.format(module="seg_test_a", name="NetA"))
    write("b/run.yaml", "_BASE_: ../a/base.yaml\nimports: [seg_test_b]\nmodel: {extra: null}\n")
    cfg = load_config("b/run.yaml")
    assert cfg.imports == ("seg_test_a", "seg_test_b") and len(cfg.imports_from) == 2


def test_imports_from_the_command_line(write):
    write("seg_test_cli.py", COMPONENT)
    text = CONFIG.format(module="json", name="TinyNet")
    cfg = load_config(write("run.yaml", text), ["imports=[seg_test_cli]", "model.backbone={name: MyNet}"])
    assert cfg.imports == ("json", "seg_test_cli") and cfg.model.backbone.name == "MyNet"


def test_an_installed_module_needs_no_folder(write):
    cfg = load_config(write("run.yaml", CONFIG.format(module="json.tool", name="TinyNet")))
    assert cfg.imports_from == ()


@pytest.mark.parametrize(
    ("files", "module", "message"),
    [
        ({}, "seg_test_none", r"^imports\.0 \(run\.yaml:2\): .*'seg_test_none' in /.*installed"),
        ({"seg_test_x.py": "import seg_test_missing"}, "seg_test_x",
         r"^imports\.0 \(run\.yaml:2\): .*'seg_test_x'.* ModuleNotFoundError: .*seg_test_missing.* \(in .*seg_test_x\.py, line 1\)$"),
        ({"seg_test_y.py": "\n1 / 0"}, "seg_test_y", r"ZeroDivisionError: .*\(in .*seg_test_y\.py, line 2\)$"),
        ({"seg_test_z.py": "def f(:"}, "seg_test_z", r"failed: SyntaxError: .*seg_test_z\.py, line 1"),
        ({"seg_test_w.py": COMPONENT.replace("MyNet", "TinyNet")}, "seg_test_w", r"'seg_test_w': BACKBONE registry: 'TinyNet' .*already"),
        ({}, "x" * 300, r"^imports\.0 \(run\.yaml:2\): "),  # too long for a file's name
        ({}, "3", r"^imports\.0 \(run\.yaml:2\): expected text, given 3"),
        ({"json/mine.py": ""}, "json.mine", r"'json\.mine'.*'json' is imported already, from .*; rename"),
    ],
)  # fmt: skip
def test_mistakes(write, files, module, message):
    for name, text in files.items():
        write(name, text)
    write("run.yaml", CONFIG.format(module=module, name="TinyNet"))
    with pytest.raises(SegkitError, match=message):
        load_config("run.yaml")


def test_another_folders_module_of_the_same_name_is_an_error(write, folder):
    for project in ("one", "two"):
        write(f"{project}/seg_test_same.py", COMPONENT)
        write(f"{project}/run.yaml", CONFIG.format(module="seg_test_same", name="MyNet"))
    load_config("one/run.yaml")
    load_config("one/run.yaml")
    with pytest.raises(SegkitError, match=r"in .*two.* imported already, from .*one.seg_test_same\.py"):
        load_config("two/run.yaml")
    shutil.rmtree(folder / "one")


def test_a_text_instead_of_a_list(write):
    with pytest.raises(SegkitError, match=r"^imports \(run\.yaml:1\): .*list.*'x'$"):
        load_config(write("run.yaml", "imports: x\n"))
