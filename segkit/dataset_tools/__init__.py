"""Checks, conversion, statistics and pictures of data sets, and configurations for them."""
