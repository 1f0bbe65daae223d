"""Present a pattern: the problems of the literature, and real data."""
