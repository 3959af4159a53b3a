"""Metrics of detections against ground truth, and files of detections for submission.

The import registers the evaluators. The library that matches detections is imported when an evaluator is built.
"""

from __future__ import annotations

from segkit.evaluation import coco as coco
from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.evaluator import Evaluator, evaluate
from segkit.evaluation.table import metrics_table

__all__ = ["CocoEvaluator", "Evaluator", "evaluate", "metrics_table"]
