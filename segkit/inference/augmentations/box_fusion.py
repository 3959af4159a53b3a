"""Merges the boxes that several views of an image lead to."""

from __future__ import annotations

import torch
from torch import Tensor

from segkit.modeling.layers.boxes import box_areas, intersections
from segkit.modeling.layers.nms import batched_nms

TINY = 1e-30  # the weight of a box whose score is 0, so that a cluster of such boxes has a mean


def fuse_boxes(
    boxes: Tensor, scores: Tensor, labels: Tensor, views: Tensor, *, num_views: int, iou_threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One box for each object that any view shows, best first.

    As the weighted boxes fusion of Solovyev et al. (2021): boxes of a class that overlap the best of them are one cluster,
    with the best box of each view. Its box is the mean, weighted by score; its score is the sum of the scores over the
    number of views, so that an object that few views show gets a low one. Unlike there, clusters are those of NMS: boxes
    are compared with the best one, and not with the mean so far.

    Args:
        boxes: float [N, 4] of all views, in the pixels of one image.
        scores: float [N].
        labels: int64 [N].
        views: int64 [N], the view of each box.
        num_views: V.
        iou_threshold: a box with a larger IoU belongs to the cluster.
    Returns:
        boxes [M, 4], scores [M] and labels [M].
    """
    seeds = batched_nms(boxes, scores, labels, iou_threshold, len(boxes))
    if not len(seeds):
        return boxes[:0], scores[:0], labels[:0]
    shared, areas = intersections(boxes, boxes[seeds]), box_areas(boxes)
    union = (areas[:, None] + areas[seeds] - shared).clamp_(min=torch.finfo(areas.dtype).tiny)  # boxes without area
    overlap = shared / union * (labels[:, None] == labels[seeds])
    overlap[seeds, torch.arange(len(seeds), device=boxes.device)] = 2.0  # a seed belongs to itself
    cluster = overlap.argmax(1)
    # The best box of each cluster and view: the first of its kind by falling score.
    order = scores.argsort(descending=True, stable=True)
    kinds = (cluster * num_views + views)[order]
    kinds, by_kind = kinds.sort(stable=True)
    is_first = torch.cat([kinds.new_ones(1, dtype=torch.bool), kinds[1:] != kinds[:-1]])
    best = order[by_kind[is_first]]
    cluster, weights = cluster[best], scores[best].double().clamp(min=TINY)
    total = weights.new_zeros(len(seeds)).index_add(0, cluster, weights)
    weighted = weights.new_zeros(len(seeds), 4).index_add(0, cluster, boxes[best].double() * weights[:, None])
    fused = (weighted / total[:, None]).to(boxes.dtype)
    fused_scores = (total / num_views).to(scores.dtype)
    ranked = fused_scores.argsort(descending=True, stable=True)
    return fused[ranked], fused_scores[ranked], labels[seeds][ranked]
