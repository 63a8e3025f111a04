"""The frameworks: the protocol that each fulfils (base.py) and a folder for each.

The table of them is config/frameworks.py, low enough for settings to be checked against it.
"""
