"""Measuring: what ``tools/benchmark.py`` and ``tools/analyze_model.py`` run."""
