"""Propagate it forward: layers, each with its derivative written out beside it."""
