"""Measuring detections against ground truth, and writing them where others measure.

The import registers the evaluators; their back end is imported when one evaluates.
"""

from __future__ import annotations

from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.evaluator import Evaluator, evaluate
from segkit.evaluation.predictions import evaluate_predictions
from segkit.evaluation.results import PredictionsWriter, coco_results
from segkit.evaluation.submission import SubmissionWriter, write_submission
from segkit.evaluation.table import metrics_table

__all__ = [
    "CocoEvaluator",
    "Evaluator",
    "PredictionsWriter",
    "SubmissionWriter",
    "coco_results",
    "evaluate",
    "evaluate_predictions",
    "metrics_table",
    "write_submission",
]
