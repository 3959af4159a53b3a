"""Models and their components.

===================  ===================================================================================
``meta_arch``        whole models: GeneralizedRCNN, ProposalNetwork, ``mask_rcnn()``
``backbones``        ResNet, ConvNeXt, EfficientNetV2, any torchvision network
``necks``            FPN
``proposals``        RPN: anchors, head, losses, NMS of proposals
``roi_heads``        box and mask heads with their losses; NMS of detections in ``postprocess``
``layers``           shared functions: NMS, RoIAlign, matching, sampling, box losses
``weights``          loading of checkpoints, also torchvision's and Detectron2's
``interfaces``       what each kind of component has to implement
===================  ===================================================================================

A head computes its losses in its method ``losses``; ``layers/box_loss.py`` has the box losses. Mask targets are made in
:mod:`segkit.structures.mask_targets`.

Names are imported when they are first used: torchvision's networks are not loaded for a function of ``layers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segkit.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from segkit.modeling.backbones import Backbone, ConvNeXt, EfficientNetV2, ResNet, TinyNet, TorchvisionBackbone
    from segkit.modeling.build import build_model
    from segkit.modeling.interfaces import BoxHead, MaskHead, ProposalGenerator, ROIHeads
    from segkit.modeling.layers.activation import make_activation
    from segkit.modeling.layers.feature_spec import FeatureSpec
    from segkit.modeling.layers.frozen_bn import FrozenBatchNorm2d
    from segkit.modeling.layers.norm import make_norm
    from segkit.modeling.layers.roi_pooler import ROIPooler
    from segkit.modeling.meta_arch import Detector, GeneralizedRCNN, ProposalNetwork, mask_rcnn
    from segkit.modeling.modes import evaluation_mode
    from segkit.modeling.necks import FPN
    from segkit.modeling.proposals import RPN, AnchorGenerator, RPNHead
    from segkit.modeling.roi_heads import CascadeROIHeads, FastRCNNHead, FCNMaskHead, StandardROIHeads
    from segkit.modeling.weights.loading import LoadReport, load_checkpoint, skip_pretrained


_HOMES = {
    "segkit.modeling.backbones": "Backbone ConvNeXt EfficientNetV2 ResNet TinyNet TorchvisionBackbone",
    "segkit.modeling.build": "build_model",
    "segkit.modeling.interfaces": "BoxHead MaskHead ProposalGenerator ROIHeads",
    "segkit.modeling.layers.activation": "make_activation",
    "segkit.modeling.layers.feature_spec": "FeatureSpec",
    "segkit.modeling.layers.frozen_bn": "FrozenBatchNorm2d",
    "segkit.modeling.layers.norm": "make_norm",
    "segkit.modeling.layers.roi_pooler": "ROIPooler",
    "segkit.modeling.meta_arch": "Detector GeneralizedRCNN ProposalNetwork mask_rcnn",
    "segkit.modeling.modes": "evaluation_mode",
    "segkit.modeling.necks": "FPN",
    "segkit.modeling.proposals": "RPN AnchorGenerator RPNHead",
    "segkit.modeling.roi_heads": "CascadeROIHeads FCNMaskHead FastRCNNHead StandardROIHeads",
    "segkit.modeling.weights.loading": "LoadReport load_checkpoint skip_pretrained",
}
if not TYPE_CHECKING:  # which would take any name for one of these
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)

__all__ = [
    "FPN",
    "RPN",
    "AnchorGenerator",
    "Backbone",
    "BoxHead",
    "CascadeROIHeads",
    "ConvNeXt",
    "Detector",
    "EfficientNetV2",
    "FCNMaskHead",
    "FastRCNNHead",
    "FeatureSpec",
    "FrozenBatchNorm2d",
    "GeneralizedRCNN",
    "LoadReport",
    "MaskHead",
    "ProposalGenerator",
    "ProposalNetwork",
    "ROIHeads",
    "ROIPooler",
    "RPNHead",
    "ResNet",
    "StandardROIHeads",
    "TinyNet",
    "TorchvisionBackbone",
    "build_model",
    "evaluation_mode",
    "load_checkpoint",
    "make_activation",
    "make_norm",
    "mask_rcnn",
    "skip_pretrained",
]
