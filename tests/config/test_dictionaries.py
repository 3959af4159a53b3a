"""Configurations as dictionaries of a program: bases, dotted keys, names of shipped files."""

from __future__ import annotations

import pytest

from segkit.config import load_config, load_config_dict
from segkit.config.sources import as_config
from segkit.utils.errors import SegkitError


@pytest.fixture(autouse=True)
def components():
    """In place of the conftest's: the registries as they are."""


def test_a_dictionary_may_have_bases():
    cfg = as_config({"_BASE_": "segkit://quickstart.yaml", "train": {"iterations": 7}}, {"train.log_period": 3})
    assert cfg.model.name == "GeneralizedRCNN" and (cfg.train.iterations, cfg.train.log_period) == (7, 3)
    with pytest.raises(SegkitError, match=r"_BASE_.*'none.yaml'"):
        as_config({"_BASE_": "none.yaml"})


def test_a_saved_configuration_has_no_bases():
    with pytest.raises(SegkitError, match="_BASE_"):
        load_config_dict({"_BASE_": "segkit://quickstart.yaml"})


def test_the_name_of_a_shipped_configuration_leads_to_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SegkitError, match=r"segkit://quickstart\.yaml"):
        load_config("quickstart")


def test_dotted_keys_belong_to_overrides():
    with pytest.raises(SegkitError, match=r"train\.iterations.*overrides.*train: \{iterations: "):
        as_config({"_BASE_": "segkit://quickstart.yaml", "train.iterations": 1})
