"""All that names PyTorch."""
