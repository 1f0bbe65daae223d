"""Propagate the error back: how a batch becomes a direction of change."""
