"""Damaged safetensors files, by kind: each generator yields (what was done, the bytes) for as long as it is asked."""

import json
import struct

KINDS = {}
DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "F8_E4M3", "X99", "", None, 7)


def kind(function):
    KINDS[function.__name__] = function
    return function


def mutations(content, count, rng):
    """(kind, what, bytes), `count` in all, the kinds in turn."""
    streams = {name: make(content, rng) for name, make in KINDS.items()}
    for index in range(count):
        name = list(streams)[index % len(streams)]
        what, damaged = next(streams[name])
        yield name, what, damaged


def split(content):
    """Header as a dictionary, and the payload."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, payload, *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + payload


def _tensors(header):
    return [name for name in header if name != "__metadata__"]


@kind
def header_bytes(content, rng):
    """Bytes of the header overwritten."""
    (length,) = struct.unpack("<Q", content[:8])
    while True:
        damaged = bytearray(content)
        places = rng.integers(8, 8 + length, rng.integers(1, 9))
        for place in places:
            damaged[place] = rng.integers(256)
        yield f"header bytes {sorted(places.tolist())}", bytes(damaged)


@kind
def header_length(content, rng):
    """Another length of the header, from a little off to absurd."""
    (length,) = struct.unpack("<Q", content[:8])
    lengths = [
        0,
        1,
        2,
        2**31 - 1,
        2**31,
        2**32,
        2**40,
        2**63 - 1,
        2**63,
        2**64 - 1,
        100_000_001,
        length - 1,
        length + 1,
    ]
    while True:
        new = lengths.pop() if lengths else int(rng.integers(0, 2 * length))
        yield f"header length {new}", struct.pack("<Q", new) + content[8:]


@kind
def dtypes(content, rng):
    """Another dtype of one tensor."""
    header, payload = split(content)
    while True:
        name, dtype = str(rng.choice(_tensors(header))), DTYPES[rng.integers(len(DTYPES))]
        yield f"{name}: dtype {dtype!r}", joined({**header, name: {**header[name], "dtype": dtype}}, payload)


@kind
def shapes(content, rng):
    """Another shape of one tensor: off by one, transposed, negative, enormous, no list, of the same size."""
    header, payload = split(content)
    while True:
        name = str(rng.choice(_tensors(header)))
        shape = header[name]["shape"]
        size = int(np_prod(shape))
        other = [
            [s + 1 for s in shape], shape[::-1], [-s for s in shape], [2**62, 4], [size], [1, *shape], [*shape, 1], [],
            None, "8", [float(s) for s in shape], [0, *shape], [2**32, 2**32], [str(s) for s in shape], {"0": size},
        ][rng.integers(15)]  # fmt: skip
        if json.dumps(other) == json.dumps(shape):  # a square, or a vector
            continue
        yield f"{name}: shape {other!r}", joined({**header, name: {**header[name], "shape": other}}, payload)


@kind
def offsets(content, rng):
    """Offsets that overlap, swap, leave gaps or point outside."""
    header, payload = split(content)
    while True:
        name = str(rng.choice(_tensors(header)))
        begin, end = header[name]["data_offsets"]
        beyond = [len(payload), len(payload) + end - begin]
        other = [[end, begin], [begin, end + 4], [begin + 4, end], [0, 0], [-4, end], beyond, [begin, 2**63],
                 [begin], None, [0, end - begin]][rng.integers(10)]  # fmt: skip
        yield f"{name}: offsets {other!r}", joined({**header, name: {**header[name], "data_offsets": other}}, payload)


@kind
def names(content, rng):
    """Tensors renamed, dropped, added or given twice."""
    header, payload = split(content)
    while True:
        name = str(rng.choice(_tensors(header)))
        action = rng.integers(4)
        rest = {key: value for key, value in header.items() if key != name}
        if action == 0:
            odd = ["", "x" * 5000, "../../etc/passwd", "\u202e", "a\x00b", name.upper(), f"{name} ", "__class__"]
            new = odd[rng.integers(len(odd))]
            yield f"{name} renamed {new[:20]!r}", joined({**rest, new: header[name]}, payload)
        elif action == 1:
            yield f"{name} left out of the header", joined(rest, payload)
        elif action == 2:
            empty = {"dtype": "F32", "shape": [0], "data_offsets": [len(payload)] * 2}
            yield f"an extra tensor beside {name}", joined({**header, "stowaway": empty}, payload)
        else:
            text = json.dumps(header)[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}" + "}"
            yield f"{name} twice", joined(text.encode(), payload)


@kind
def truncations(content, rng):
    """Only the beginning of the file."""
    (length,) = struct.unpack("<Q", content[:8])
    places = [0, 1, 7, 8, 9, 8 + length - 1, 8 + length, 8 + length + 1, len(content) - 1]
    while True:
        kept = places.pop() if places else int(rng.integers(len(content)))
        yield f"first {kept} bytes", content[:kept]


@kind
def additions(content, rng):
    """Bytes after the end or before the payload."""
    (length,) = struct.unpack("<Q", content[:8])
    while True:
        more = rng.bytes(int(rng.integers(1, 64)))
        place = len(content) if rng.integers(2) else 8 + length
        yield f"{len(more)} more bytes at {place}", content[:place] + more + content[place:]


@kind
def bit_flips(content, rng):
    """Single bits of the payload, which safetensors has no way to notice."""
    (length,) = struct.unpack("<Q", content[:8])
    while True:
        damaged = bytearray(content)
        place, bit = int(rng.integers(8 + length, len(content))), int(rng.integers(8))
        damaged[place] ^= 1 << bit
        yield f"bit {bit} of byte {place}", bytes(damaged)


@kind
def not_finite(content, rng):
    """Exponents of all ones in the payload: NaN or infinity."""
    header, payload = split(content)
    while True:
        name = str(rng.choice(_tensors(header)))
        begin, end = header[name]["data_offsets"]
        place = begin + 4 * int(rng.integers((end - begin) // 4))
        word = [b"\x00\x00\x80\x7f", b"\x00\x00\x80\xff", b"\x00\x00\xc0\x7f", b"\xff\xff\xff\xff"][rng.integers(4)]
        yield f"{name} holds {word.hex()}", joined(header, payload[:place] + word + payload[place + 4 :])


def np_prod(shape):
    product = 1
    for size in shape:
        product *= size
    return product
