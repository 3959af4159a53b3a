"""Pictures: objects drawn on images, and a run's curves. Matplotlib and Pillow are imported when used."""

from __future__ import annotations

from segkit.visualization.draw import draw_detections

__all__ = ["draw_detections"]
