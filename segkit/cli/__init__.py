"""The command ``segkit``: one module for each subcommand, which ``main`` selects."""
