"""What condensing far keys costs and saves in a gauge model that was trained without it.

    python analyses/condensed_attention.py train RUN [--short 400] [--long 120]
    python analyses/condensed_attention.py losses RUN
    python analyses/condensed_attention.py times RUN [--tokens 4096 8192 16384] [--rounds 9]
    python analyses/condensed_attention.py figure RUN --out figures/

The first trains a gauge model of 3 blocks, width 64 and 4 heads on plays and on ledgers, --short steps of 4 x 512 tokens and
then --long steps of 4,096 tokens. The second measures, on held-out text of 4,096 tokens, the loss when keys are condensed at
several budgets, how far weights and outputs move, and how many heads condense; beside it the loss when the far past is simply
left out. The third measures process time of attention on the features of all blocks, flat and condensed in turn. They write
RUN/condensed-losses.json and RUN/condensed-times.json.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from artefacts import save_figure
from tokenizers import Tokenizer
from torch import nn

from rgprobe.models.attention import Visibility, attend
from rgprobe.models.attention.condensed import Condensation, condensed_attend
from rgprobe.models.attention.condensed.attending import active_keys, worth_condensing
from rgprobe.models.attention.condensed.cover import covers, span_weights, spans_before
from rgprobe.models.attention.condensed.tree import grow
from rgprobe.models.corpus import load_corpus
from rgprobe.models.gauge import GaugeTransformer
from rgprobe.models.gauge.building import build_gauge
from rgprobe.models.optimization import build_optimizer, learning_rate
from rgprobe.models.options import TrainingOptions
from rgprobe.models.tokenizer import BOS_ID, encode, save_tokenizer, train_tokenizer

PEOPLE = """HAMLET OPHELIA LAERTES HORATIO POLONIUS GERTRUDE CLAUDIUS BERNARDO ANTONIO PROSPERO MIRANDA ARIEL CALIBAN
GONZALO ROMEO JULIET TYBALT BENVOLIO MERCUTIO PARIS OTHELLO IAGO CASSIO DESDEMONA EMILIA LEAR CORDELIA REGAN GONERIL EDMUND
EDGAR KENT BRUTUS CASSIUS CAESAR PORTIA SHYLOCK BASSANIO VIOLA ORSINO OLIVIA FESTE ROSALIND ORLANDO CELIA JAQUES PUCK OBERON
TITANIA THESEUS HERMIA HELENA LYSANDER DEMETRIUS BOTTOM QUINCE MACBETH BANQUO MACDUFF DUNCAN MALCOLM HECATE LEONTES PERDITA
FLORIZEL CAMILLO TIMON APEMANTUS TITUS AARON TAMORA LAVINIA PERICLES MARINA HAL FALSTAFF POINS BARDOLPH PISTOL NYM"""
THINGS = "crown sword ring letter cloak horse lute cup knife book chain glove lamp drum ship flag key purse bell rose"
PLACES = "Venice Rome Verona Athens Padua London Paris Milan Naples Cyprus Egypt Troy Vienna Messina Ephesus Tyre"
LENGTH = 4096
BUDGETS = (0.1, 1.0, 4.0, 8.0)
TIMED = (("play", 8.0), ("ledger", 8.0), ("random tokens", 0.01))


def ledger(draw: random.Random, facts: int, characters: int) -> str:
    """Who keeps what and where, `facts` lines over and over in random order."""
    things, places = THINGS.split(), PLACES.split()
    who = draw.sample(PEOPLE.split(), facts)
    rows = [f"{name} keeps the {draw.choice(things)} in {draw.choice(places)}.\n" for name in who]
    return "".join(draw.choice(rows) for _ in range(characters // 20))


def train(run: Path, short: int, long: int) -> None:
    """Train and save; one thread, about ten minutes on a quiet machine."""
    corpus = load_corpus()
    ledgers = [ledger(random.Random(10**6 + number), 48, 20_000) for number in range(40)]
    tokenizer = train_tokenizer([*(document.text for document in corpus.train), *ledgers], vocabulary=512)
    stream = torch.tensor([token for play in corpus.train for token in (*encode(tokenizer, play.text), BOS_ID)])
    options = TrainingOptions(out=run, family="gauge", steps=short + long, warmup=50)
    torch.manual_seed(0)
    model = build_gauge(vocabulary=tokenizer.get_vocab_size(), context=4 * LENGTH, layers=3, width=64, heads=4)
    optimizer = build_optimizer(model, options)
    for step in range(options.steps):
        ids = _batch(step, tokenizer, stream, *((512, 4) if step < short else (LENGTH, 1)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options)
        loss = model(ids, return_type="loss")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), options.clip)
        optimizer.step()
        if step % 25 == 24:
            print(f"step {step + 1}: {loss.item():.3f} nats per token", flush=True)
    model.save_pretrained(run)
    save_tokenizer(tokenizer, run, context=4 * LENGTH)


def _batch(step: int, tokenizer: Tokenizer, stream: torch.Tensor, length: int, rows: int) -> torch.Tensor:
    draw, found = random.Random(step), []
    for row in range(rows):
        start = draw.randrange(len(stream) - length)
        if (step + row) % 2:
            facts = draw.choice((6, 12, 24) if length == 512 else (24, 48, 80))
            found.append(torch.tensor(encode(tokenizer, ledger(draw, facts, 8 * length))[: length - 1]))
        else:
            found.append(stream[start : start + length - 1])
    return torch.stack([torch.cat([torch.tensor([BOS_ID]), one]) for one in found])


def texts(tokenizer: Tokenizer, length: int) -> dict[str, torch.Tensor]:
    """Held-out text, (1, length) ids each."""
    play = [token for document in load_corpus().test for token in encode(tokenizer, document.text)]
    rows = encode(tokenizer, ledger(random.Random(77), 48, 10 * length))
    noise = torch.randint(2, tokenizer.get_vocab_size(), (length - 1,), generator=torch.Generator().manual_seed(0))
    bodies = {"play": play[3000 : 3000 + length - 1], "ledger": rows[: length - 1], "random tokens": noise.tolist()}
    return {name: torch.tensor([[BOS_ID, *body]]) for name, body in bodies.items()}


@contextmanager
def watched(model: GaugeTransformer, replaced: Callable | None = None) -> Iterator[list[tuple[torch.Tensor, ...]]]:
    """Collects queries, keys and values of every block, each query behind its keys; `replaced` attends instead."""
    seen: list[tuple[torch.Tensor, ...]] = []
    for block in model.blocks:

        def average(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, prior: Any) -> torch.Tensor:
            parts = (q[..., 1:, :], k[..., :-1, :], v[..., :-1, :])
            seen.append(parts)
            return torch.cat([v[..., :1, :], (replaced or flat)(*parts)], -2)

        block.attn.average = average
    try:
        yield seen
    finally:
        for block in model.blocks:
            del block.attn.average


def flat(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Every key on its own."""
    return attend(q, k, v, Visibility())


def near_only(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The far past left out: about as many keys as condensed attention takes one by one."""
    return attend(q, k, v, Visibility(window=Condensation().span))


@torch.no_grad()
def losses(run: Path) -> list[dict[str, Any]]:
    """One row per text and budget."""
    model, tokenizer = GaugeTransformer.from_pretrained(run), Tokenizer.from_file(str(run / "tokenizer.json"))
    rows = []
    for name, ids in texts(tokenizer, LENGTH).items():
        with watched(model) as seen:
            expected = model(ids, return_type="loss").item()
        with watched(model, near_only):
            without = model(ids, return_type="loss").item() / expected - 1
        for budget in BUDGETS:
            options = Condensation(budget=budget)
            with watched(model, lambda *parts, options=options: condensed_attend(*parts, options)):
                found = model(ids, return_type="loss").item()
            moved = [_movement(*(x[0] for x in parts), options) for parts in seen]
            row = {
                "text": name,
                "budget": budget,
                "loss": expected,
                "increase": found / expected - 1,
                "without": without,
            }
            row |= {key: [round(x, 5) for one in moved for x in one[key]] for key in moved[0]}
            rows.append(row)
            print(row, flush=True)
    return rows


def _movement(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: Condensation) -> dict[str, list[float]]:
    """Per head: whether it condenses, active keys of the last chunk, and how far its output moves."""
    chosen = worth_condensing(q, k, v, options)
    last = q.shape[-2] // options.chunk
    tree, chunks = grow(q, k, v, options, spans_before(last, options)), range(last, last + 1)
    cover = covers(tree, span_weights(q, k, tree, chunks, options), chunks, options)[0]
    active = [active_keys(one, options) for one in cover]
    behind = slice(options.lead, None)
    exact, found = (
        flat(q[None], k[None], v[None])[0, :, behind],
        condensed_attend(q[None], k[None], v[None], options)[0],
    )
    spread = (exact - exact.mean(1, keepdim=True)).square().sum((1, 2))
    error = ((found[:, behind] - exact).square().sum((1, 2)) / spread).sqrt()
    past = spans_before(last, options) * options.span
    shares = [one / past if on else 1.0 for one, on in zip(active, chosen.tolist(), strict=True)]
    return {"condensed": chosen.float().tolist(), "active share": shares, "output error": error.tolist()}


@torch.no_grad()
def times(run: Path, lengths: list[int], rounds: int) -> list[dict[str, Any]]:
    """Process seconds of attention in all blocks, flat and condensed in turn, the least of several rounds."""
    model, tokenizer = GaugeTransformer.from_pretrained(run), Tokenizer.from_file(str(run / "tokenizer.json"))
    rows = []
    for length in lengths:
        found = texts(tokenizer, length)
        for name, budget in TIMED:
            with watched(model) as seen:
                model(found[name], return_type=None)
            row = {
                "tokens": length,
                "text": name,
                "budget": budget,
                **_timed(seen, Condensation(budget=budget), rounds),
            }
            rows.append(row)
            print(row, flush=True)
    return rows


def _timed(seen: list[tuple[torch.Tensor, ...]], options: Condensation, rounds: int) -> dict[str, float]:
    def detect() -> None:
        for q, k, v in seen:
            chosen = worth_condensing(q[0], k[0], v[0], options)
            if chosen.any():
                spans = spans_before(q.shape[-2] // options.chunk, options)
                grow(q[0][chosen], k[0][chosen], v[0][chosen], options, spans)

    jobs = {
        "flat": lambda: [flat(*parts) for parts in seen],
        "condensed": lambda: [condensed_attend(*parts, options) for parts in seen],
        "detection and merging": detect,
    }
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            spent[name].append(time.process_time() - start)
    chosen = torch.cat([_worth_condensing(*(x[0] for x in parts), options) for parts in seen])
    return {name: round(min(values), 5) for name, values in spent.items()} | {"heads": chosen.float().mean().item()}


def loss_table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown."""
    lines = [
        "| text | nats per token | far past left out | budget, nats | loss | heads condensed | active keys | output error |"
    ]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        heads, active, error = (float(np.mean(row[key])) for key in ("condensed", "active share", "output error"))
        lines.append(
            f"| {row['text']} | {row['loss']:.3f} | {row['without']:+.2%} | {row['budget']} | {row['increase']:+.2%} "
            f"| {heads:.0%} | {active:.0%} | {error:.2f} |"
        )
    return lines


def exponent(rows: list[dict[str, Any]], key: str) -> float:
    """Least-squares slope of log time against log tokens."""
    return float(np.polyfit(np.log([row["tokens"] for row in rows]), np.log([row[key] for row in rows]), 1)[0])


def time_table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: time over that of flat attention."""
    lengths = sorted({row["tokens"] for row in rows})
    lines = [
        "| text, budget | heads condensed | " + " | ".join(f"{n:,}" for n in lengths) + " | growth | growth of flat |"
    ]
    lines.append("| --- |" + " ---: |" * (len(lengths) + 3))
    for text, budget in dict.fromkeys((row["text"], row["budget"]) for row in rows):
        own = [row for row in rows if (row["text"], row["budget"]) == (text, budget)]
        at = {row["tokens"]: row for row in own}
        cells = [_share(at[n]) if n in at else "-" for n in lengths]
        growth = [f"{exponent(own, key):.2f}" if len(own) > 1 else "-" for key in ("condensed", "flat")]
        heads = np.mean([row["heads"] for row in own])
        lines.append(f"| {text}, {budget} | {heads:.0%} | " + " | ".join([*cells, *growth]) + " |")
    return lines


def _share(row: dict[str, Any]) -> str:
    return f"{row['condensed'] / row['flat']:.2f} ({row['detection and merging'] / row['flat']:.2f})"


def draw(rows: list[dict[str, Any]], times: list[dict[str, Any]], path: Path) -> None:
    """Two panels: loss against budget, time against tokens."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for text in dict.fromkeys(row["text"] for row in rows):
        own = [row for row in rows if row["text"] == text]
        left.plot([row["budget"] for row in own], [100 * row["increase"] for row in own], "o-", label=text)
    left.axhline(1.0, color="0.6", linestyle=":")
    left.set(xscale="log", xlabel="budget (nats)", ylabel="loss increase (%)")
    left.legend()
    for text, budget in dict.fromkeys((row["text"], row["budget"]) for row in times):
        own = [row for row in times if (row["text"], row["budget"]) == (text, budget)]
        ratio = [row["condensed"] / row["flat"] for row in own]
        right.plot([row["tokens"] for row in own], ratio, "o-", label=f"{text}, {budget} nats")
    right.axhline(1.0, color="0.6", linestyle=":")
    right.set(xscale="log", xlabel="tokens", ylabel="time over that of flat attention", ylim=(0, None))
    right.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context({"svg.hashsalt": "rgprobe"}):
        save_figure(figure, path)
    plt.close(figure)


def main() -> None:
    """Parse the command line and do one thing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "losses", "times", "figure"])
    parser.add_argument("run", type=Path)
    parser.add_argument("--short", type=int, default=400)
    parser.add_argument("--long", type=int, default=120)
    parser.add_argument("--tokens", type=int, nargs="+", default=[4096, 8192, 16384])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.what == "train":
        train(asked.run, asked.short, asked.long)
    elif asked.what == "losses":
        (asked.run / "condensed-losses.json").write_text(json.dumps(losses(asked.run)) + "\n", encoding="utf-8")
    elif asked.what == "times":
        found = times(asked.run, asked.tokens, asked.rounds)
        (asked.run / "condensed-times.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    else:
        parts = [json.loads((asked.run / f"condensed-{name}.json").read_text("utf-8")) for name in ("losses", "times")]
        draw(*parts, asked.out / "condensed-attention.svg")
        print("\n".join([*loss_table(parts[0]), "", *time_table(parts[1])]))


if __name__ == "__main__":
    main()
