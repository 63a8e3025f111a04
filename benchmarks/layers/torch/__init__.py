"""Layers of PyTorch that several jobs are built of."""
