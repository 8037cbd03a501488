"""A workforce whose behaviour is stated: people, their next events, and what those cost at least."""
