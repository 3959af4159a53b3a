"""The commands under their script names, ``python -m segkit.tools.train_net``; the code is in ``segkit.cli``."""
