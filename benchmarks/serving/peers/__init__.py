"""What people would pick instead: each serves the same bundle, with the same engine, reader and renderer."""
