"""docs/beliefs.md shows the numbers of docs/beliefs.json, which `analyses/belief_choice.py` measured.

    python analyses/belief_choice.py standard-small --save docs/beliefs.json
    python analyses/belief_choice.py gauge-small --save docs/beliefs.json
    python tests/test_beliefs_page.py

writes the tables into the page, between its marks.
"""

import json

from measured_page import DOCS, analysis, shown, write

from rgprobe.probe.estimators import ESTIMATORS

PAGE = DOCS / "beliefs.md"


def tables():
    measured = json.loads((DOCS / "beliefs.json").read_text("utf-8"))
    return {"tables": analysis("belief_choice").tables(measured)}


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables()


def test_the_page_names_every_belief_its_defaults_and_its_floor():
    page = PAGE.read_text("utf-8")
    for name, estimator in ESTIMATORS.items():
        assert f"| `{name}` |" in page
        for option, default in estimator.options.items():
            stated = f'"{default}"' if isinstance(default, str) else f"{default:g}"
            assert f"`{option}` {stated}" in page, (name, option)
        noise = estimator.noise(estimator.options)
        assert noise is None or f"{noise['kl']:.4g} nats" in page


if __name__ == "__main__":
    write(PAGE, tables())
