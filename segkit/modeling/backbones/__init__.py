"""Backbones: networks from images to feature maps of strides 4, 8, 16 and 32."""

from segkit.modeling.backbones.base import Backbone
from segkit.modeling.backbones.convnext import ConvNeXt
from segkit.modeling.backbones.efficientnet import EfficientNetV2
from segkit.modeling.backbones.resnet import ResNet
from segkit.modeling.backbones.tinynet import TinyNet
from segkit.modeling.backbones.torchvision_network import TorchvisionBackbone

__all__ = ["Backbone", "ConvNeXt", "EfficientNetV2", "ResNet", "TinyNet", "TorchvisionBackbone"]
