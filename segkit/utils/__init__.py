"""Helpers that know nothing of segmentation: errors, paths, files, images, logging."""
