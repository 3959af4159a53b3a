"""Prediction with a trained model: the Predictor, and prediction over files."""

from __future__ import annotations

from segkit.inference.find_inputs import find_inputs
from segkit.inference.predict_files import PredictionSummary, name_inputs, predict_files
from segkit.inference.predictor import Predictor
from segkit.inference.tiled_predictor import TiledPredictor

__all__ = [
    "PredictionSummary",
    "Predictor",
    "TiledPredictor",
    "find_inputs",
    "name_inputs",
    "predict_files",
]
