"""Attention layers, masks and positions."""
