"""Look inside: whether a gradient is right, and where it is wrong."""
