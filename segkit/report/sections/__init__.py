"""The sections of the page: one module each, with a function ``section(runs, ...)`` and a template of its name."""
