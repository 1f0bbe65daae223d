"""Change the weights: rules of the literature as optax transformations."""
