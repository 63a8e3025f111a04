"""One run: the loop, what surrounds it, and the process that it lives in."""
