"""Draws objects on images, and the curves of a run.

Matplotlib and Pillow are imported when they are used.
"""

from __future__ import annotations

from segkit.utils.images import composite
from segkit.utils.removed_names import removed_names
from segkit.visualization.curves import plot_curves
from segkit.visualization.draw import draw_detections

__all__ = [
    "composite",
    "draw_detections",
    "plot_curves",
]

__getattr__ = removed_names(__name__, {"OverlayWriter": "segkit.results.OverlayResultWriter"})
