"""The prediction server: HTTP, batching, metrics. Everything about the model itself is in ``eventmodel``."""
