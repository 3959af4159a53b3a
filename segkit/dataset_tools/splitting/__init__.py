"""Divides a data set: near-duplicates, groups, strata, and what is written."""
