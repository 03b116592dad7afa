"""Making the ONNX models that `sqlrag.models` runs: needs the `torch` extra."""
