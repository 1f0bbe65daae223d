"""Fit, stops, trial, restarts, evaluate."""
