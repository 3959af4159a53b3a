"""Runs that come to harm.

``forks.py`` ends processes, ``fakes.py`` of the engine's tests is what they run, ``format_examples.py`` of the data's tests
is what fuzzing starts from.
"""

import sys
from pathlib import Path

for _folder in (Path(__file__).parent, Path(__file__).parents[1] / "engine", Path(__file__).parents[1] / "data"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
