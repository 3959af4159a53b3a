"""Suggested configurations: rules from measurements of the data and the machine to keys with reasons."""
