"""How surprising each event of a log is, and how well that finds labelled ones; the program is ``training.score``."""
