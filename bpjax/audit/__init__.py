"""Is this rule what it says it is."""
