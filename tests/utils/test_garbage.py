from __future__ import annotations

import gc

import pytest

from segkit.utils.garbage import gc_paused


@pytest.mark.parametrize("enabled", [True, False])
def test_the_search_is_as_before_afterwards(enabled: bool):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ValueError, match="inside"), gc_paused():
            assert not gc.isenabled()
            raise ValueError("inside")
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
