"""The commands by their script names, ``python -m segkit.tools.train_net``.

Their code is in :mod:`segkit.cli`; only ``describe_config`` has arguments of its own.
"""
