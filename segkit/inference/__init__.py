"""Prediction with a trained model: the Predictor, and prediction over files."""

from __future__ import annotations

from segkit.inference.predictor import Predictor

__all__ = ["Predictor"]
