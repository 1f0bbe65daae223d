"""Reference networks as functions of a few numbers."""
