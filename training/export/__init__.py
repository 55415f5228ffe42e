"""The student and its adapter as one model: safetensors and GGUF."""
