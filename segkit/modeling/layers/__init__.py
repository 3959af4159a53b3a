"""Shared building blocks: boxes, NMS, matching, sampling, RoIAlign, norms, losses."""
