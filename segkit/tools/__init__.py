"""The commands as modules, ``python -m segkit.tools.train_net``; see ``segkit.cli``."""
