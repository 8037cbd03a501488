"""How far a bundle may be from the model that it holds."""

TOLERANCE = 1e-4
"""Largest difference in probability, or in a state's value, that a bundle may have."""


class ParityError(RuntimeError):
    """An artefact gives other answers than the model that it came from."""
