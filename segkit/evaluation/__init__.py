"""Measuring detections against ground truth, and writing them where others measure.

The import registers the evaluators; their back end is imported when one evaluates.
"""

from __future__ import annotations

from segkit.evaluation import coco as coco
from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.evaluator import Evaluator, evaluate
from segkit.evaluation.table import metrics_table

__all__ = ["CocoEvaluator", "Evaluator", "evaluate", "metrics_table"]
