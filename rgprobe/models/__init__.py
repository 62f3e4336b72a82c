"""Models that rgprobe trains and ships: corpus, tokenizer, families, the training loop, checkpoints.

Importing this package imports no torch; the submodules do where they need it.
"""
