"""Present an example: the problems of the literature, and real data."""
