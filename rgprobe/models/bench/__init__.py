"""Benchmarks of the parts of a model. Importing this package imports no torch.

`ladder` times ways to compute attention by KL divergence between transported Gaussian beliefs, from the textbook double
loop to the exact common frame, and says which of them the exact form dominates. A further target is a module with a
function that returns a frozen record, a drawing in `rgprobe.plots`, and an entry in `rgprobe.cli.bench_command`.
"""
