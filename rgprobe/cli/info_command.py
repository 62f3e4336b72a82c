"""`rgprobe info`: what a checkpoint or a saved result is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from rgprobe.cli.failures import printable
from rgprobe.cli.options import AllowPickle, Debug, known_sources

__all__ = ["info_command"]


def info_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Shipped name, directory, hub id, or a result file (.nc).",
            autocompletion=known_sources,
        ),
    ],
    *,
    allow_pickle: AllowPickle = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Say what a checkpoint or a result is: family, sizes, tokenizer, digests; for a result also how it was made.

    A checkpoint is loaded, so whatever would stop a run is reported here too.
    """
    path = Path(source)
    facts = _result_facts(path) if path.suffix == ".nc" else _checkpoint_facts(source, allow_pickle)
    typer.echo(json.dumps(facts, indent=1) if as_json else "\n".join(_lines(facts)))


def _checkpoint_facts(source: str, allow_pickle: bool) -> dict[str, Any]:
    from rgprobe.probe.loading import load

    model = load(source, device="cpu", allow_pickle=allow_pickle)
    config = model.source.config
    return {
        "name": model.name,
        "kind": model.source.kind,
        "family": model.family,
        "architecture": _architecture(config),
        "parameters": model.n_parameters,
        "layers": model.n_blocks,
        "heads": model.n_heads,
        "width": model.width,
        "vocabulary": model.vocabulary,
        "context": model.context,
        "attention": "causal" if model.causal else "bidirectional",
        "stored as": str(config.get("dtype") or config.get("torch_dtype") or "unstated"),
        "tokenizer": type(model.tokenizer).__name__ if model.tokenizer is not None else "none: prompts are token ids",
        "sha256": model.source.sha256,
    }


def _result_facts(path: Path) -> dict[str, Any]:
    from rgprobe.rg_flow import open_flow

    flow = open_flow(path)
    record = flow.provenance
    return {
        "result": str(path),
        "name": record["source"]["name"],
        "kind": record["source"]["kind"],
        "family": record["family"],
        "architecture": _architecture(record["config"]),
        "parameters": record["n_parameters"],
        "tokenizer": record["tokenizer"],
        "weights as": f"{record['dtype']} on {record['device']}",
        "prompts": len(flow.prompts),
        "tokens": sum(len(tokens) for tokens in flow.tokens),
        "truncated prompts": sum(1 for tokens in record["truncated_tokens"] if tokens),
        "belief": f"{record['belief']}: {record['assumption']}",
        "diagnostics": list(flow.diagnostics),
        "seed": record["seed"],
        "random inits": record["nulls"]["random_init_seeds"],
        **({"scaled inits, gains": gains} if (gains := record["nulls"].get("scaled_init_gains")) else {}),
        "shuffles": record["nulls"]["shuffle_seeds"],
        "options": record["options"],
        "versions": record["versions"],
        "sha256": record["source"]["sha256"],
    }


def _architecture(config: dict[str, Any]) -> str:
    return str((config.get("architectures") or [config.get("model_type", "unknown")])[0])


def _lines(facts: dict[str, Any]) -> list[str]:
    """Key and value per line; dictionaries become blocks."""
    width = max(len(key) for key in facts) + 2
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            inner = max((len(name) for name in value), default=0) + 2
            lines += [key, *(f"  {printable(name):<{inner}}{_shown(part)}" for name, part in value.items())]
        else:
            lines.append(f"{key:<{width}}{_shown(value)}")
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return printable(", ".join(str(part) for part in value)) or "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable("none" if value is None else str(value))
