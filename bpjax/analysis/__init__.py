"""Signals, alignment, curvature, cost."""
