"""Meta architectures: whole models of backbone, neck, proposal generator and RoI heads."""

from __future__ import annotations

from segkit.modeling.meta_arch.detector import Detector
from segkit.modeling.meta_arch.generalized_rcnn import GeneralizedRCNN
from segkit.modeling.meta_arch.mask_rcnn import mask_rcnn
from segkit.modeling.meta_arch.proposal_network import ProposalNetwork

__all__ = [
    "Detector",
    "GeneralizedRCNN",
    "ProposalNetwork",
    "mask_rcnn",
]
