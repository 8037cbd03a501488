"""Built-in schemas, as JSON files."""
