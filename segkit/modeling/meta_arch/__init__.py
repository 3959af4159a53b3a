"""Meta architectures: whole models of backbone, neck, proposal generator and RoI heads."""

from segkit.modeling.meta_arch.generalized_rcnn import GeneralizedRCNN
from segkit.modeling.meta_arch.proposal_network import ProposalNetwork

__all__ = ["GeneralizedRCNN", "ProposalNetwork"]
