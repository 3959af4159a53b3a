"""Suggested configurations: from measurements to keys with reasons."""
