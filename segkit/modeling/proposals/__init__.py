"""Proposal generators, their anchors and heads."""

from segkit.modeling.proposals.anchors import AnchorGenerator
from segkit.modeling.proposals.head import RPNHead
from segkit.modeling.proposals.rpn import RPN

__all__ = ["RPN", "AnchorGenerator", "RPNHead"]
