"""A trained model as a function from images to detections."""

from __future__ import annotations

from segkit.inference.predictor import Predictor

__all__ = ["Predictor"]
