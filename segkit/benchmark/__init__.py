"""Benchmarks and model analysis: ``segkit benchmark`` and ``segkit analyze``."""
