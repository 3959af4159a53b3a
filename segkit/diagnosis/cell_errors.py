"""Kinds of errors of cells and of settings, each with its cost and what to change."""

from __future__ import annotations

import numpy as np

from segkit.diagnosis.findings import Finding
from segkit.diagnosis.merged_and_split import merged, split
from segkit.diagnosis.missed_objects import missed_objects
from segkit.diagnosis.nms_errors import nms_losses
from segkit.diagnosis.poor_masks import pairs_of, poor_masks, shifted
from segkit.diagnosis.ranking import Ranking
from segkit.diagnosis.settings import ModelSettings
from segkit.diagnosis.threshold_in_use import below_threshold
from segkit.diagnosis.tide import ranked
from segkit.diagnosis.unexplained import Unexplained
from segkit.diagnosis.wrong_detections import duplicates, spurious, swapped


def cell_errors(table: Ranking, settings: ModelSettings, *, score_threshold: float) -> tuple[Finding, ...]:
    """Returns the kinds of errors of cells and of settings, the most costly first.

    Kinds without errors are absent.

    Each object without a match and each false positive at IoU 0.5 is counted in one kind, the first of this order that
    explains it: ``swapped``, ``nms``, ``merged``, ``merged_labels``, ``split``, ``shifted``; then missed objects are divided
    among ``below_model_threshold``, ``detection_limit``, ``small_for_anchors``, ``large_for_anchors``, ``tile_seam`` and
    ``missed``; then ``coarse_masks``, ``imprecise``, ``duplicate``, ``unannotated`` and ``spurious``. ``below_threshold`` is
    beside them: its objects are found.

    The cost of a kind is the mean AP at IoU 0.5..0.95 after its errors are mended, minus the AP. A kind's function says what
    its oracle mends.

    Args:
        table: matched at COCO's ten IoU thresholds.
        settings: of the model; a kind whose setting is unknown is absent.
        score_threshold: the one in use.
    """
    errors = Unexplained.of(table, settings, score_threshold)
    found = [below_threshold(errors), swapped(errors), nms_losses(errors), merged(errors), *split(errors)]
    shift, pairs = shifted(errors, pairs_of(errors))
    near = np.zeros(len(table.object_labels), bool)
    near[pairs.objects] = True
    found += [shift, *missed_objects(errors, near & errors.objects), *poor_masks(errors, pairs)]
    found += [duplicates(errors), *spurious(errors)]
    return ranked([one for one in found if one is not None])
