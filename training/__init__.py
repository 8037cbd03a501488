"""From a log of events to a checkpoint: prepare the log, train on it, measure the result."""
