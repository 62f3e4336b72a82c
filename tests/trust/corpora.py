"""Everything hostile that commands are given, as cases for `audited.run_audited`; `full` sizes are those of docs/trust.md."""

import numpy as np
from attacks import ATTACKS, edit_json, only_pickle, pickles, still_holds
from safetensors.torch import load_file
from synthetic_flow import synthetic_flow
from tiny_checkpoints import CONTEXT, copied, manifest_of
from weight_mutations import mutations

SIZES = {"weights": (40, 1250), "with_manifest": (10, 400), "pickles": (18, 300), "results": (12, 120)}
# what an edited configuration gets: refused, or loaded under an identity of its own
STANDARD_EDITS = {
    "heads that do not divide": ({"num_attention_heads": 3}, 2), "no heads": ({"num_attention_heads": 0}, 2),
    "negative layers": ({"num_hidden_layers": -1}, 2), "one layer fewer": ({"num_hidden_layers": 1}, 2),
    "one layer more": ({"num_hidden_layers": 3}, 2), "layers in words": ({"num_hidden_layers": "two"}, 2),
    "another vocabulary": ({"vocab_size": 2000}, 2), "no width": ({"hidden_size": 0}, 2),
    "fewer key heads": ({"num_key_value_heads": 1}, 2), "untied": ({"tie_word_embeddings": False}, 2),
    "another activation": ({"hidden_act": "relu"}, 0), "an activation that is none": ({"hidden_act": "evil"}, 2),
    "another epsilon": ({"rms_norm_eps": 0.1}, 0), "epsilon is a word": ({"rms_norm_eps": "small"}, 2),
    "another base of rotations": ({"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}, 0),
    "another type": ({"model_type": "gpt2"}, 2), "an attention to be downloaded": ({"attn_implementation": "a/b"}, 2),
    "no context": ({"max_position_embeddings": 0}, 2), "a negative context": ({"max_position_embeddings": -5}, 2),
    "quantised": ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, 2),
}  # fmt: skip
GAUGE_EDITS = {
    "heads that do not divide": ({"n_heads": 3}, 2), "no heads": ({"n_heads": 0}, 2), "negative layers": ({"n_layers": -1}, 2),
    "one layer fewer": ({"n_layers": 1}, 2), "one layer more": ({"n_layers": 3}, 2), "layers in words": ({"n_layers": "2"}, 2),
    "another vocabulary": ({"d_vocab": 2000}, 2), "no width": ({"d_model": 0}, 2), "no attention": ({"attention": "no"}, 2),
    "dot products": ({"attention": "dot"}, 2), "tokens that see themselves": ({"include_self": True}, 2),
    "no prior": ({"log_prior": False}, 2), "a prior of one": ({"log_prior": 1}, 2), "no alpha": ({"alpha": None}, 2),
    "another decoder": ({"decode": "kl"}, 0), "no frames": ({"frames": "none"}, 2), "a new format": ({"format_version": 9}, 2),
    "an unknown field": ({"evil": 1}, 2), "no context": ({"n_ctx": 0}, 2), "a longer context": ({"n_ctx": 48}, 0),
}  # fmt: skip
PROMPT_FILES = {
    "empty.txt": b"", "blank.txt": b" \n\n \t\n", "latin.txt": b"caf\xe9", "nul.jsonl": b"\x00", "list.jsonl": b"[1, 2]",
    "number.jsonl": b"7", "null.jsonl": b"null", "deep.jsonl": b"[" * 100_000, "torn.jsonl": b'{"text": "a',
    "digits.jsonl": b"9" * 10_000, "empty_text.jsonl": b'{"text": ""}', "textless.jsonl": b'{"group": "a"}',
    "group_number.jsonl": b'{"text": "a", "group": 3}', "group_list.jsonl": b'{"text": "a", "group": ["b"]}',
    "utf16.txt": "Now is".encode("utf-16"),
}  # fmt: skip


def everything(sources, root, *, full, suites):
    """All cases of these suites, each with the name of its "suite"."""
    size = {name: sizes[full] for name, sizes in SIZES.items()}
    makers = [
        ("weights", weights(sources, root / "weights", size["weights"])), ("attacks", hand_made(sources, root / "attacks")),
        ("pickles", pickled(sources, root / "pickles", size["pickles"])), ("configs", edited(sources, root / "configs")),
        ("prompts", prompted(sources, root / "prompts")), ("prompt_files", prompt_files(sources, root / "files")),
        ("offline", [{"name": "a hub id", "names": ["nobody/nothing"], "arguments": ["info", "nobody/nothing"]}]),
        ("results", results(root / "results", size["results"])),
        ("with_manifest", with_manifest(sources, root / "shipped", size["with_manifest"])),
    ]  # fmt: skip
    return [{"suite": suite, "writes": [], "codes": [2], **case} for suite, cases in makers if suite in suites
            for case in cases]  # fmt: skip


def weights(sources, root, count):
    rng = np.random.default_rng(0)
    for family, source in sources.items():
        content = (source / "model.safetensors").read_bytes()
        for number, (kind, what, damaged) in enumerate(mutations(content, count // 2, rng)):
            directory = copied(source, root / f"{family}-{number}")
            (directory / "model.safetensors").write_bytes(damaged)
            yield {"name": f"{family}, {kind}: {what}", "kind": kind, "same": damaged == content, "codes": [0, 2],
                   "arguments": ["info", directory.as_posix()], "names": [directory.name]}  # fmt: skip


def with_manifest(sources, root, count):
    """Copies that take the place of the shipped checkpoints, damaged after their manifest was written."""
    rng = np.random.default_rng(1)
    root.mkdir(parents=True)
    damage = {}
    for family, source in sources.items():
        content = (source / "model.safetensors").read_bytes()
        for number, (kind, what, damaged) in enumerate(mutations(content, count // 2, rng)):
            if damaged != content:
                copied(source, root / f"shipped-{family}-{number}")
                damage[f"shipped-{family}-{number}"] = (f"{kind}: {what}", damaged)
    (root / "manifest.json").write_text(manifest_of(*(root / name for name in damage)))
    for name, (what, damaged) in damage.items():
        (root / name / "model.safetensors").write_bytes(damaged)
        yield {"name": f"{name}, {what}", "arguments": ["info", name], "names": ["model.safetensors"]}


def hand_made(sources, root):
    for family, source in sources.items():
        for name, spoil in ATTACKS.items():
            directory = copied(source, root / f"{family}-{name}")
            spoil(directory)
            yield {"name": f"{family}: {name}", "names": [directory.name],
                   "arguments": ["info", directory.as_posix(), "--allow-pickle"]}  # fmt: skip


def pickled(sources, root, count):
    tensors = load_file(sources["standard"] / "model.safetensors")
    rng = np.random.default_rng(2)
    for number, (what, content) in enumerate(pickles(count, root.parent / "marker", tensors, rng)):
        harmless = "overwritten" in what and still_holds(content, tensors)
        for option in ([], ["--allow-pickle"]):
            directory = copied(sources["standard"], root / f"pickle-{number}{'-allowed' if option else ''}")
            only_pickle(directory, content)
            yield {"name": f"{what} {option}", "names": [directory.name], "codes": [0, 2] if harmless and option else [2],
                   "arguments": ["info", directory.as_posix(), *option]}  # fmt: skip


def edited(sources, root):
    for family, edits in (("standard", STANDARD_EDITS), ("gauge", GAUGE_EDITS)):
        for number, (what, (changes, code)) in enumerate(edits.items()):
            directory = copied(sources[family], root / f"{family}-{number}")
            edit_json(directory / "config.json", **changes)
            yield {"name": f"{family}: {what}", "arguments": ["info", directory.as_posix()], "names": [directory.name],
                   "codes": [code]}  # fmt: skip


def prompted(sources, root):
    """Prompts of 0, 1, 2, all and one too many tokens, for every family and command."""
    word = " the"  # one token of the shipped tokenizer
    for family, source in sources.items():
        for count in (0, 1, 2, CONTEXT, CONTEXT + 1):
            code = 2 if count in (0, CONTEXT + 1) else 0
            out = root / f"{family}-{count}"
            case = {"name": f"{family}: {count} tokens", "codes": [code], "names": ["prompt"], "tokens": count}
            few = ["--bos", "never", "--device", "cpu"]
            yield {**case, "arguments": ["tree", source.as_posix(), word * count, *few]}
            run = ["run", source.as_posix(), "--text", word * count, "--nulls", "0", "--quiet", "--out", out.as_posix(), *few,
                   "--diagnostics", "temperature,elimination,condensation", "--json"]  # fmt: skip
            yield {**case, "arguments": run, "writes": [root.as_posix()]}
        yield {"name": f"{family}: too long, cut", "codes": [0], "names": [],
               "arguments": ["tree", source.as_posix(), word * 99, "--truncate", *few]}  # fmt: skip


def prompt_files(sources, root):
    root.mkdir(parents=True)
    for name, content in PROMPT_FILES.items():
        (root / name).write_bytes(content)
        out = root / "out"
        yield {"name": name, "names": [name], "writes": [root.as_posix()], "arguments": [
            "run", sources["gauge"].as_posix(), "--prompts", (root / name).as_posix(), "--out", out.as_posix()]}  # fmt: skip


def results(root, count):
    """Damaged result files; what a flip leaves readable is read."""
    rng = np.random.default_rng(3)
    root.mkdir(parents=True)
    synthetic_flow(blocks=2, heads=2).save(root / "whole.nc")
    content = (root / "whole.nc").read_bytes()
    odd = [b"", b"text", b"\x89HDF\r\n\x1a\n", b"{}", content + b"more"]
    for number in range(count):
        if number < len(odd):
            damaged = odd[number]
        elif number % 2:
            damaged = content[: int(rng.integers(len(content)))]
        else:
            spoiled = bytearray(content)
            for place in rng.integers(0, len(content), 1 + number % 4):
                spoiled[place] = rng.integers(256)
            damaged = bytes(spoiled)
        path = root / f"result-{number}.nc"
        path.write_bytes(damaged)
        page = (root / f"page-{number}.html").as_posix()
        yield {"name": path.name, "writes": [root.as_posix()], "names": [path.name], "codes": [0, 2],
               "arguments": ["report", path.as_posix(), "--out", page]}  # fmt: skip
