"""Metrics of detections against ground truth, and files of detections for submission.

The import registers the evaluators. The library that matches detections is imported when an evaluator is built.
"""

from __future__ import annotations

from segkit.evaluation.boundary import BoundaryEvaluator
from segkit.evaluation.cells import CellEvaluator
from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.evaluator import Evaluator, evaluate
from segkit.evaluation.lvis import LvisEvaluator
from segkit.evaluation.panoptic import PanopticEvaluator
from segkit.evaluation.precision_recall import PrecisionRecall
from segkit.evaluation.predictions import evaluate_predictions
from segkit.evaluation.result_files import read_predictions, read_results
from segkit.evaluation.results import coco_results
from segkit.evaluation.submission import SubmissionWriter, write_submission
from segkit.evaluation.submission_check import SubmissionSummary, check_submission
from segkit.evaluation.table import metrics_table
from segkit.utils.removed_names import removed_names

__all__ = [
    "BoundaryEvaluator",
    "CellEvaluator",
    "CocoEvaluator",
    "Evaluator",
    "LvisEvaluator",
    "PanopticEvaluator",
    "PrecisionRecall",
    "SubmissionSummary",
    "SubmissionWriter",
    "check_submission",
    "coco_results",
    "evaluate",
    "evaluate_predictions",
    "metrics_table",
    "read_predictions",
    "read_results",
    "write_submission",
]

__getattr__ = removed_names(__name__, {"PredictionsWriter": "segkit.results.CocoResultWriter"})
