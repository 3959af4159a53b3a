"""The command ``segkit``: ``main`` picks the subcommand, each of which is a module."""
