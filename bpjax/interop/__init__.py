"""Doors to everyone else's models, and from ours to theirs."""
