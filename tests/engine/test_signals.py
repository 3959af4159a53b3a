"""Signals during a step."""

import os
import signal
import time

import pytest

from segkit.engine.signals import delayed_interrupt


def test_delayed_interrupt():
    reached = []
    with pytest.raises(KeyboardInterrupt), delayed_interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        reached.append("end of the block")
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ZeroDivisionError), delayed_interrupt():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
