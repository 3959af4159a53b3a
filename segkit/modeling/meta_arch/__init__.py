"""Whole models."""

from segkit.modeling.meta_arch.generalized_rcnn import GeneralizedRCNN

__all__ = ["GeneralizedRCNN"]
