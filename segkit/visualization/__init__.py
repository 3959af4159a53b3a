"""Pictures of objects and of a run's curves; imports Matplotlib and Pillow when used."""

from __future__ import annotations

from segkit.visualization.draw import draw_detections

__all__ = ["draw_detections"]
