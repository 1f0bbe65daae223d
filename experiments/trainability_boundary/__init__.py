"""Which pairs of hyperparameters let a small network train, and how rough is the boundary between yes and no?"""
