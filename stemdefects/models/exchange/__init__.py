"""Networks for other programs: `stemdefects.export`, as ONNX, safetensors or a folder that a model hub shows."""
