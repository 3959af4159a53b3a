"""RoI heads: class, box and mask of each proposal."""

from segkit.modeling.roi_heads.box_head import FastRCNNHead
from segkit.modeling.roi_heads.cascade import CascadeROIHeads
from segkit.modeling.roi_heads.mask_head import FCNMaskHead
from segkit.modeling.roi_heads.standard import StandardROIHeads

__all__ = ["CascadeROIHeads", "FCNMaskHead", "FastRCNNHead", "StandardROIHeads"]
