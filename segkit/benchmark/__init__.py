"""Benchmarks and model analysis of ``tools/benchmark.py`` and ``tools/analyze_model.py``."""
