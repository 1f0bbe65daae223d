"""Lessons, derivations and exercises from real networks and their numbers."""

__all__: list[str] = []
