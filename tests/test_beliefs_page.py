"""docs/beliefs.md shows the numbers of docs/beliefs.json, which `analyses/belief_choice.py` measured.

    python analyses/belief_choice.py standard-small --save docs/beliefs.json
    python analyses/belief_choice.py gauge-small --save docs/beliefs.json
    python tests/test_beliefs_page.py

writes the tables into the page, between its marks.
"""

import importlib.util
import json
from pathlib import Path

from rgprobe.probe.estimators import ESTIMATORS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "beliefs.md"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"


def tables():
    spec = importlib.util.spec_from_file_location("belief_choice", ROOT / "analyses" / "belief_choice.py")
    analysis = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(analysis)
    return analysis.tables(json.loads((ROOT / "docs" / "beliefs.json").read_text("utf-8")))


def test_the_page_shows_what_was_measured():
    shown = PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0].strip()
    assert shown == tables()


def test_the_page_names_every_belief_its_defaults_and_its_floor():
    page = PAGE.read_text("utf-8")
    for name, estimator in ESTIMATORS.items():
        assert f"| `{name}` |" in page
        for option, default in estimator.options.items():
            shown = f'"{default}"' if isinstance(default, str) else f"{default:g}"
            assert f"`{option}` {shown}" in page, (name, option)
        noise = estimator.noise(estimator.options)
        assert noise is None or f"{noise['kl']:.4g} nats" in page


if __name__ == "__main__":
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}", encoding="utf-8")
