"""A million trainings at once: axes of a sweep, lanes, the pool of running trainings, and the store."""
