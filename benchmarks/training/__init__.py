"""How fast a model trains, and beside what."""
