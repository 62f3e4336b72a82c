"""One torch thread everywhere: two threads on a busy machine are slower, and byte-identity needs a fixed number."""

import torch

torch.set_num_threads(1)
