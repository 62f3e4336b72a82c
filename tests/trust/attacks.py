"""Checkpoints made to harm whoever opens them. Each attack gets a copy of a good checkpoint and spoils it."""

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ATTACKS = {}
GADGETS = {
    "os.system": ("os", "system", ("touch {marker}",)), "posix.system": ("posix", "system", ("touch {marker}",)),
    "eval": ("builtins", "eval", ("open('{marker}', 'w')",)), "exec": ("builtins", "exec", ("open('{marker}', 'w')",)),
    "open": ("builtins", "open", ("{marker}", "w")), "mkdir": ("os", "mkdir", ("{marker}",)),
    "Popen": ("subprocess", "Popen", (["touch", "{marker}"],)), "run": ("subprocess", "run", (["touch", "{marker}"],)),
    "connect": ("socket", "create_connection", (("127.0.0.1", 9),)), "import": ("importlib", "import_module", ("antigravity",)),
    "pathlib": ("pathlib", "Path.touch", ("{marker}",)), "torch.load": ("torch", "load", ("{marker}",)),
    "runpy": ("runpy", "run_path", ("{marker}",)), "webbrowser": ("webbrowser", "open", ("file://{marker}",)),
    "builtins.getattr": ("builtins", "getattr", ("x", "__class__")), "code": ("timeit", "timeit", ("open('{marker}', 'w')",)),
    "bytearray": ("builtins", "bytearray", (2**34,)), "rename": ("os", "rename", ("/tmp", "{marker}")),
}  # fmt: skip


def attack(function):
    ATTACKS[function.__name__] = function
    return function


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def call(module, name, arguments, protocol):
    """A pickle that calls a function."""
    if protocol < 2:
        inner = "".join(_text_argument(each) for each in arguments)
        return f"c{module}\n{name}\n({inner}tR.".encode()
    head = pickle.PROTO + bytes([protocol]) + f"c{module}\n{name}\n".encode()
    return head + pickle.dumps(tuple(arguments), protocol=2)[2:-1] + pickle.REDUCE + pickle.STOP


def _text_argument(value):
    return pickle.dumps(value, protocol=0)[:-1].decode()


def pickles(count, marker, tensors, rng):
    """(what, bytes) of pickled weight files, none of which is honest."""
    honest = io.BytesIO()
    torch.save(tensors, honest)
    archive = honest.getvalue()
    old = io.BytesIO()
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    for index in range(count):
        gadget = list(GADGETS)[index % len(GADGETS)]
        module, name, arguments = GADGETS[gadget]
        filled = tuple(_filled(each, marker) for each in arguments)
        shape, protocol = (index // len(GADGETS)) % 9, index % 5
        payload = call(module, name, filled, protocol)
        match shape:
            case 0:
                yield f"{gadget}: a bare pickle, protocol {protocol}", payload
            case 1:
                yield f"{gadget}: in an archive of torch", repacked(archive, {"data.pkl": payload})
            case 2:
                yield f"{gadget}: before the old format", payload + old.getvalue()
            case 3:
                place = int(rng.integers(len(archive)))
                yield f"an archive cut at {place}", archive[:place]
            case 4:
                yield "an archive whose records are compressed", repacked(archive, {}, zipfile.ZIP_DEFLATED)
            case 5:
                damaged = bytearray(archive)
                for place in rng.integers(0, len(archive), 5):
                    damaged[place] = rng.integers(256)
                yield "an archive with bytes overwritten", bytes(damaged)
            case 6:
                yield (
                    f"{gadget}: a record of another name",
                    repacked(archive, {"../../evil.pkl": payload, "data.pkl": payload}),
                )
            case 7:
                place = int(rng.integers(len(old.getvalue())))
                yield f"the old format cut at {place}", old.getvalue()[:place]
            case 8:
                yield f"random bytes after {gadget}", rng.bytes(200) + payload


def _filled(value, marker):
    if isinstance(value, (list, tuple)):
        return type(value)(_filled(each, marker) for each in value)
    return value.replace("{marker}", str(marker)) if isinstance(value, str) else value


def repacked(archive, replaced, compression=zipfile.ZIP_STORED):
    """The same archive with some records replaced or added."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(result, "w", compression) as target:
        root = source.namelist()[0].split("/")[0]
        for name in source.namelist():
            target.writestr(name, replaced.get(name.split("/")[-1], source.read(name)))
        for name in replaced:
            if f"{root}/{name}" not in source.namelist():
                target.writestr(f"{root}/{name}", replaced[name])
    return result.getvalue()


def still_holds(content, tensors):
    """Whether what was overwritten is none of the numbers and names, such as the padding between records."""
    try:
        found = torch.load(io.BytesIO(content), weights_only=True)
    except Exception:
        return False
    return found.keys() == tensors.keys() and all(torch.equal(found[name], value) for name, value in tensors.items())


def only_pickle(directory, content):
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(content)


def index_of(directory, name, suffix="model.safetensors"):
    record = {"metadata": {}, "weight_map": dict.fromkeys(load_file(directory / "model.safetensors"), name)}
    (directory / f"{suffix}.index.json").write_text(json.dumps(record))


@attack
def zip_bomb(directory):
    """An archive of a few hundred kB that unpacks to 256 MiB."""
    content = io.BytesIO()
    torch.save({"model.norm.weight": torch.zeros(2**26)}, content)
    only_pickle(directory, repacked(content.getvalue(), {}, zipfile.ZIP_DEFLATED))


@attack
def overlapping_records(directory):
    """An archive whose directory lists one stored record many times."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", b"\0" * 2**20)
        archive.filelist += [archive.filelist[-1]] * 500
    only_pickle(directory, content.getvalue())


@attack
def a_pickle_that_asks_for_sixteen_gibibytes(directory):
    """`bytearray(n)` is among the calls that `weights_only` allows."""
    content = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, content)
    only_pickle(directory, repacked(content.getvalue(), {"data.pkl": call("builtins", "bytearray", (2**34,), 2)}))


@attack
def path_traversal_in_the_index(directory):
    index_of(directory, "../../../../etc/passwd")


@attack
def absolute_path_in_the_index(directory):
    index_of(directory, "/etc/hostname.safetensors")


@attack
def path_traversal_in_the_index_of_pickles(directory):
    index_of(directory, "../outside.bin", "pytorch_model.bin")
    (directory.parent / "outside.bin").write_bytes(b"")
    only_pickle(directory, b"")


@attack
def index_nested_ten_thousand_deep(directory):
    (directory / "model.safetensors.index.json").write_text("[" * 10_000)


@attack
def config_nested_ten_thousand_deep(directory):
    (directory / "config.json").write_text('{"model_type": ' + "[" * 10_000)


@attack
def number_of_ten_thousand_digits(directory):
    text = (directory / "config.json").read_text()
    (directory / "config.json").write_text(text[: text.rindex("}")].rstrip() + ', "extra": ' + "9" * 10_000 + "}")


@attack
def config_of_a_hundred_megabytes(directory):
    with (directory / "config.json").open("r+b") as file:
        file.truncate(100 * 2**20)


@attack
def huge_header(directory):
    path = directory / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 99_999_999) + b"{" + b" " * 1000)
    os.truncate(path, 100_000_100)


@attack
def duplicate_names(directory):
    path = directory / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    name = next(key for key in header if key != "__metadata__")
    text = (json.dumps(header)[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}").encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


@attack
def integers_for_weights(directory):
    _edit_tensors(directory, lambda tensors: {name: value.to(torch.int64) for name, value in tensors.items()})


@attack
def weights_that_are_not_numbers(directory):
    def spoil(tensors):
        next(iter(tensors.values())).view(-1)[0] = torch.nan
        return tensors

    _edit_tensors(directory, spoil)


@attack
def tied_weights_that_differ(directory):
    """The configuration ties the output to the embedding, the file holds another one."""

    def untie(tensors):
        embedding = max(tensors.values(), key=torch.numel)
        return {**tensors, "lm_head.weight": embedding + 1.0}

    _edit_tensors(directory, untie)


@attack
def weights_are_a_device(directory):
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors").symlink_to("/dev/zero")


@attack
def weights_are_a_pipe(directory):
    (directory / "model.safetensors").unlink()
    os.mkfifo(directory / "model.safetensors")


@attack
def weights_are_a_directory(directory):
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors").mkdir()


@attack
def weights_are_a_link_to_themselves(directory):
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors").symlink_to("model.safetensors")


@attack
def tokenizer_is_a_pipe(directory):
    (directory / "tokenizer.json").unlink()
    os.mkfifo(directory / "tokenizer.json")


@attack
def tokenizer_nested_ten_thousand_deep(directory):
    _replace(directory / "tokenizer.json", '{"version": "1.0", "model": ' + '{"a":' * 10_000)


@attack
def tokenizer_that_runs_code(directory):
    (directory / "evil.py").write_text(f"open({str(directory / 'ran')!r}, 'w')\nclass Evil: pass\n")
    _replace(directory / "tokenizer_config.json", json.dumps({"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))


@attack
def configuration_that_runs_code(directory):
    (directory / "evil.py").write_text(f"open({str(directory / 'ran')!r}, 'w')\nclass Evil: pass\n")
    edit_json(directory / "config.json", auto_map={"AutoModelForCausalLM": "evil.Evil"})


@attack
def adapter_of_another_model(directory):
    (directory / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/etc", "peft_type": "LORA"}))


@attack
def architecture_that_is_no_model(directory):
    edit_json(directory / "config.json", architectures={"0": "pipeline"})


@attack
def million_layers(directory):
    edit_json(directory / "config.json", **{_key(directory, "num_hidden_layers", "n_layers"): 1_000_000})


@attack
def vocabulary_of_a_billion(directory):
    edit_json(directory / "config.json", **{_key(directory, "vocab_size", "d_vocab"): 10**9})


def _key(directory, standard, gauge):
    return gauge if "n_layers" in json.loads((directory / "config.json").read_text()) else standard


def _edit_tensors(directory, change):
    path = directory / "model.safetensors"
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    save_file({name: value.contiguous() for name, value in change(tensors).items()}, path, metadata={"format": "pt"})


def _replace(path: Path, text):
    """Instead of a link to the good file."""
    path.unlink()
    path.write_text(text)
