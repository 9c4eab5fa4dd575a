"""The calls of the REST door: what a body means, what is answered, and their description."""
