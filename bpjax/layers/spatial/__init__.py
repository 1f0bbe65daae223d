"""Changes of the size of an image: padding, up-sampling, adaptive pooling, channels to positions and back."""
