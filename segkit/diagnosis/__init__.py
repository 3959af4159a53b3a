"""Why a model fails: kinds of errors, slices, label errors, comparisons of models.

All of it is computed from the overlaps of objects and detections (:class:`segkit.evaluation.image_overlaps.DatasetOverlaps`),
without the model.
"""
