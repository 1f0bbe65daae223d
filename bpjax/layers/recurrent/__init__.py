"""Recurrent cells and their unrolling over time."""
