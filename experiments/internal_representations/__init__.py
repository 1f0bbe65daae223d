"""Which internal representations does backpropagation find, and how often? The problems of 1986."""
