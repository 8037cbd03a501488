"""How fast the server is, beside what people would pick instead, and how it holds under load."""
