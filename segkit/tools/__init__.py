"""The commands: ``python -m segkit.tools.train_net`` and so on. Arguments in, one call."""
