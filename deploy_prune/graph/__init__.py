"""Which indices of a network's parameters live and die together."""
