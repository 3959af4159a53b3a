"""The sections of the page, one module each.

A module has a function ``section(runs, ...)``, and a template of its name in ``templates/``.
"""
