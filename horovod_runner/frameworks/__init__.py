"""The frameworks: the protocol that each fulfils (base.py) and a folder for each."""
