"""Every built-in layer with the inputs it is checked at, one file per family."""
