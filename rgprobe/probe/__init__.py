"""Where a model meets the tools: loading, hooks, readout, belief estimators. The only package that knows transformer_lens."""
