"""Pickled weights whose bytes are not those that torch wrote: torch stores checksums and does not look at them."""

import pytest
import torch

from rgprobe.errors import CheckpointError
from rgprobe.probe.pickle_sizes import require_honest_size


def test_one_flipped_bit_of_the_numbers_is_caught(tmp_path):
    path = tmp_path / "a.bin"
    torch.save({"weight": torch.full((64,), 1.5)}, path)
    require_honest_size(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"\x00\x00\xc0\x3f" * 8)] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["weight"], torch.full((64,), 1.5))  # in silence
    with pytest.raises(CheckpointError, match=r"a\.bin: .* a record that has changed since \('a/data/0'\)"):
        require_honest_size(path)
