"""rgprobe: renormalization-group flow in transformers, measured against null models."""
