"""Checkpoint to bundle."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as in eventmodel.engine.onnx_backend
