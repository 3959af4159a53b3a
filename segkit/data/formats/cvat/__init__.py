"""The format "CVAT for images 1.1": one XML file for all images."""

from segkit.data.formats.cvat.dataset import Cvat

__all__ = ["Cvat"]
