"""Pattern-guided data augmentation for small language models (arXiv 2510.18143)."""
