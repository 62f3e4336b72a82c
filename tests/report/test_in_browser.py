"""The report in a real browser, where one is installed: it draws without complaint, its tree folds, its search finds."""

import pytest
from chromium import PROGRAM, Browser
from synthetic_flow import synthetic_flow

from rgprobe.report import write_report

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    path = write_report(synthetic_flow(nulls=5, prompts=20), tmp_path_factory.mktemp("report") / "r.html")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    try:
        opened.open(path.as_uri())
        drawn(opened)
        yield opened
    finally:
        opened.close()


def drawn(browser):
    """Waits until the first tree stands."""
    seen = "document.querySelector('#condensation .knob')"
    browser.run(f"new Promise((done) => {{ const look = () => {seen} ? done() : setTimeout(look, 20); look(); }})")


def settled(browser):
    browser.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")


def test_it_is_drawn_without_an_error_and_asks_for_nothing(browser):
    browser.run("document.getElementById('elimination').scrollIntoView()")
    settled(browser)
    assert browser.run("document.querySelectorAll('#elimination .plot svg.main-svg').length") > 0
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_a_click_folds_the_tree_and_another_unfolds_it(browser):
    leaves = "document.querySelectorAll('#condensation .leaf').length"
    click = "document.querySelector('#condensation .knob[data-node=\"{}\"]').dispatchEvent(new MouseEvent('click'))"
    before = browser.run(leaves)
    root = browser.run("Math.max(...[...document.querySelectorAll('#condensation .knob')].map((k) => +k.dataset.node))")
    browser.run(click.format(root))
    assert browser.run(leaves) == 1
    browser.run(click.format(root))
    assert browser.run(leaves) == before > 1


def test_the_tree_is_reached_and_folded_by_the_keyboard(browser):
    browser.run("document.querySelector('#condensation .knob').focus()")
    said = browser.run("document.activeElement.getAttribute('aria-label')")
    assert said.startswith("cluster of ")
    browser.press("Enter", 13)
    assert browser.run("document.activeElement.getAttribute('aria-expanded')") == "false"
    browser.press("Enter", 13)
    assert browser.run("document.activeElement.getAttribute('aria-expanded')") == "true"


def test_the_search_marks_tokens_in_the_text_and_in_the_tree_and_opens_what_hides_them(browser):
    browser.run(
        "{const root = document.querySelector('#condensation .knob:last-of-type'); "
        "root.dispatchEvent(new MouseEvent('click')); "
        "const box = document.getElementById('tree-search'); box.value = 'be'; box.dispatchEvent(new Event('input'))}"
    )
    assert browser.run("[...document.querySelectorAll('.token.found')].map((t) => t.firstChild.textContent)") == [
        "be",
        "be",
    ]
    assert browser.run("[...document.querySelectorAll('.leaf.found')].map((t) => t.textContent)") == ["be", "be"]
    assert browser.run("document.querySelector('[data-role=\"found\"]').textContent") == "2 of 7 recorded"
    browser.run(
        "{const box = document.getElementById('tree-search'); box.value = ''; box.dispatchEvent(new Event('input'))}"
    )
    assert browser.run("document.querySelectorAll('.found').length") == 0


def test_nothing_hangs_over_on_a_phone(browser):
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    browser.open(browser.run("location.href"))
    drawn(browser)
    settled(browser)
    assert browser.run("innerWidth") == 390
    wide = "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > 391 && "
    wide += "!e.closest('.scroll, .treebox, pre')).map((e) => e.tagName + '.' + e.className).slice(0, 5)"
    assert browser.run(wide) == []
    assert browser.run("document.documentElement.scrollWidth") <= 390
    browser.call("Emulation.clearDeviceMetricsOverride")
    assert browser.errors == []


def printed(browser):
    """Figures and unfolded parts that paper would show."""
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    seen = "[...document.querySelectorAll('{}')].filter((e) => e.offsetParent)"
    shown = browser.run(f"{seen.format('[data-figure]')}.map((e) => e.dataset.figure)")
    unfolded = browser.run(f"{seen.format('details[open]')}.length")
    blank = browser.run(f"{seen.format('[data-figure]')}.filter((e) => !e.children.length).length")
    browser.run("window.dispatchEvent(new Event('afterprint'))")
    browser.call("Emulation.setEmulatedMedia", media="")
    return shown, unfolded, blank


def test_paper_shows_one_figure_of_each_diagnostic_unless_everything_is_asked_for(browser):
    everything = browser.run("[...document.querySelectorAll('[data-figure]')].map((e) => e.dataset.figure)")
    brief, unfolded, blank = printed(browser)
    names = {key.split("/")[0] for key in everything}
    assert sorted(key.split("/")[0] for key in brief) == sorted(names)
    assert {"elimination", "plateau/angle"} <= set(brief)
    assert (unfolded, blank) == (0, 0)
    browser.run("document.getElementById('print-all').click()")
    whole, unfolded, blank = printed(browser)
    assert (whole, blank) == (everything, 0)
    assert unfolded > 0
    assert browser.run("document.querySelectorAll('details[open]').length") == 0
    assert browser.errors == []
