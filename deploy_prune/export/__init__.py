"""Export: PyTorch module to ONNX file, and the proof that both compute the same."""
