"""Making the ONNX models that `sqlrag.models` runs. It needs the `torch` extra.

Nothing here is public: the commands are `sqlrag models pull` and `sqlrag models export`.
"""
