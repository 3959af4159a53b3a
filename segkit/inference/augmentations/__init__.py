"""Test-time augmentation: views of an image that are predicted and merged."""
