"""Every built-in layer and loss with inputs it is checked at, a file for each family."""
