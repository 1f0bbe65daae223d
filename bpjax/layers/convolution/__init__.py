"""Folders for convolution, recurrence, attention, normalization and combinators."""
