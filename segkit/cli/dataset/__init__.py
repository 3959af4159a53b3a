"""``segkit dataset``: one module for each subcommand."""
