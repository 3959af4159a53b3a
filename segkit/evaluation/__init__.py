"""Metrics of detections against ground truth, and files of detections for submission.

The import registers the evaluators. The library that matches detections is imported when an evaluator is built.
"""

from __future__ import annotations

from segkit.evaluation.cells import CellEvaluator
from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.evaluator import Evaluator, evaluate
from segkit.evaluation.precision_recall import PrecisionRecall
from segkit.evaluation.predictions import evaluate_predictions
from segkit.evaluation.results import PredictionsWriter, coco_results, read_results
from segkit.evaluation.submission import SubmissionWriter, write_submission
from segkit.evaluation.table import metrics_table

__all__ = [
    "CellEvaluator",
    "CocoEvaluator",
    "Evaluator",
    "PrecisionRecall",
    "PredictionsWriter",
    "SubmissionWriter",
    "coco_results",
    "evaluate",
    "evaluate_predictions",
    "metrics_table",
    "read_results",
    "write_submission",
]
