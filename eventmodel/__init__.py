"""The event model: schema, log, network, checkpoint, bundle and the engine that serves it."""
