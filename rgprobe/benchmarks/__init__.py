"""Measurements of the package's own speed that need models and trees at once; see docs/benchmarks.md."""
