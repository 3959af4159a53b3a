"""The command ``segkit``: one module per subcommand. ``main`` picks it, ``parser`` reads its arguments."""
