"""The commands as modules: ``python -m segkit.tools.train_net`` is ``segkit train``. The code is in ``segkit.cli``."""
