"""Second-order methods for small networks."""
