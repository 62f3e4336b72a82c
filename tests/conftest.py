"""One torch thread everywhere: two threads on a busy machine are slower, and byte-identity needs a fixed number."""

import jaxtyping
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def unchecked_types():
    """Wrong types and shapes are ours to refuse where annotations are not checked, which is everywhere but under pytest."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
