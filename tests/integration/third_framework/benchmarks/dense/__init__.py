"""Two dense layers."""
