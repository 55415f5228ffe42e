"""Fast paths of the student: tree attention, LoRA products, prepacked weights, CUDA-graph capture."""
