"""Reads and calls components' constructors, for the registries.

================  =============================================================================
``signature``     a constructor as a schema: options, run-time arguments, slots for components
``adapter``       components made of classes from other libraries
``construction``  the call: arguments checked and completed, errors with their key path
``dotted_path``   classes of torch, torchvision and imported modules by their dotted path
================  =============================================================================
"""
