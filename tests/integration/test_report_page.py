"""The report in a real browser: offline, light and dark, on a phone, on paper, by keyboard."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from storied import planned, refused, story
from world import Clock

from orchestrations.reporting import collect, render
from worker.ledger import open_ledger

pytestmark = pytest.mark.chromium

EVIL = "<img src=http://127.0.0.1:9/x><script>fetch('http://127.0.0.1:9/')</script>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Files: the report of a run with everything, and one of a run by somebody who means ill."""
    folder = tmp_path_factory.mktemp("reports")
    clock = Clock()
    ledger = open_ledger(f"sqlite:///{folder / 'ledger.db'}", clock=clock)
    story(ledger, clock)
    long = "a_very_long_name_" * 12
    planned(
        ledger, run_id="df-2", orchestration=f"{EVIL}{long}"[:120], key=long,
        rejected=[refused(1, detail=EVIL + long * 5, external_id=EVIL + "\u202e" + long)],
        chunks=[], params={"name": EVIL + long},
    )  # fmt: skip
    files = {}
    for name, run_id in (("whole", "df-1"), ("evil", "df-2")):
        files[name] = folder / f"{name}.html"
        files[name].write_text(render(collect(ledger, run_id)), encoding="utf-8")
    ledger.close()
    return files


@pytest.fixture
def opened(chromium, pages):
    """Return a function that opens a report; every request but for the file itself is blocked."""
    contexts = []

    def open_page(name="whole", width=1100, **how):
        context = chromium.new_context(viewport={"width": width, "height": 800}, **how)
        contexts.append(context)
        page = context.new_page()
        page.requests, page.said = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))

        def judge(route):
            if route.request.url == pages[name].as_uri():
                route.continue_()
            else:
                page.requests.append(route.request.url)
                route.abort()

        context.route("**/*", judge)
        page.goto(pages[name].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


CONTRASTS = """() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const ground = el => {
    for (; el; el = el.parentElement) {
      const c = parse(getComputedStyle(el).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const el = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || ['STYLE', 'TITLE', 'DESC', 'title', 'desc']
        .includes(el.tagName)) continue;
    const style = getComputedStyle(el);
    const ink = el.namespaceURI.endsWith('svg') ? style.fill : style.color;
    found.push([walker.currentNode.textContent.trim().slice(0, 40), parse(ink).slice(0, 3),
                ground(el)]);
  }
  return found;
}"""


def luminance(colour):
    parts = [c / 255 for c in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """WCAG 2.2, relative luminance."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_on_a_phone_a_time_leaves_room_for_what_happened_then(opened):
    """Else words are broken in their midst."""
    measured = """() => [...document.querySelectorAll('th time')].map(it => [
        it.closest('th').offsetWidth / it.closest('table').offsetWidth,
        it.getClientRects().length])"""
    found = opened(width=360).evaluate(measured)
    assert len(found) > 2
    assert max(share for share, _ in found) < 0.45
    assert {lines for _, lines in found} == {2}  # the date, the time


@pytest.mark.parametrize("name", ["whole", "evil"])
def test_it_asks_nobody_for_anything_and_runs_nothing(opened, name):
    page = opened(name)

    assert page.requests == []
    assert page.said == []  # a breach of its policy would be said here
    assert page.evaluate("document.scripts.length") == 0
    assert page.evaluate("document.images.length") == 0
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.verdict')).borderLeftWidth")
        != "0px"
    )


def test_even_if_a_script_got_in_it_would_not_run(opened, pages):
    page = opened()
    page.set_content(
        pages["whole"]
        .read_text()
        .replace("</main>", "<script>document.title='ran'</script></main>")
    )

    assert page.title() != "ran"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_enough_in_both_schemes(opened, scheme):
    page = opened(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    texts = page.evaluate(CONTRASTS)
    weak = [
        (text, round(contrast(ink, ground), 2))
        for text, ink, ground in texts
        if contrast(ink, ground) < 4.5
    ]

    assert len(texts) > 150
    assert weak == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert luminance([int(n) for n in re.findall(r"\d+", ground)[:3]]) == pytest.approx(
        1.0 if scheme == "light" else 0.0, abs=0.02
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_shapes_stand_out_from_the_ground(opened, scheme):
    page = opened(color_scheme=scheme)
    fills = page.evaluate("""() => [...document.querySelectorAll('svg [class*=fill-]')]
      .filter(el => !el.matches('.fill-stream, .see-through'))
      .map(el => getComputedStyle(el).fill)""")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    back = [int(n) for n in re.findall(r"\d+", ground)[:3]]

    assert len(fills) > 10
    for fill in set(fills):  # WCAG 2.2, 1.4.11
        assert contrast([int(n) for n in re.findall(r"\d+", fill)[:3]], back) >= 3.0, fill


@pytest.mark.parametrize("name", ["whole", "evil"])
@pytest.mark.parametrize("width", [320, 360])
def test_a_phone_need_not_scroll_sideways(opened, name, width):
    page = opened(name, width=width, is_mobile=True, has_touch=True)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    too_wide = page.evaluate(
        f"""() => [...document.querySelectorAll('main *')].filter(el => !el.closest('svg') &&
        el.getBoundingClientRect().right > {width} + 0.5 && !el.matches('.skip'))
        .map(el => el.outerHTML.slice(0, 80))"""
    )
    assert [tag for tag in too_wide if "thead" not in tag] == []


def test_landmarks_headings_and_tables_speak_to_who_cannot_see(opened):
    page = opened()

    found = page.evaluate("""() => ({
      lang: document.documentElement.lang,
      landmarks: ['header', 'main', 'footer'].map(n => document.querySelectorAll(n).length),
      levels: [...document.querySelectorAll('h1,h2,h3')].map(h => Number(h.tagName[1])),
      unnamed: [...document.querySelectorAll('section,article')].filter(s =>
        !document.getElementById(s.getAttribute('aria-labelledby'))).length,
      captionless: [...document.querySelectorAll('table')].filter(t => !t.caption).length,
      headless: [...document.querySelectorAll('th')].filter(h => !h.scope).length,
      rowless: [...document.querySelectorAll('tbody tr')].filter(r =>
        !r.querySelector('th[scope=row]')).length,
      silent: [...document.querySelectorAll('svg')].filter(s => s.ariaHidden !== 'true' && !(
        s.getAttribute('role') === 'img' && s.getAttribute('aria-labelledby').split(' ')
          .every(id => document.getElementById(id).textContent.trim()))).length,
      twice: (ids => ids.length - new Set(ids).size)([...document.querySelectorAll('[id]')]
        .map(el => el.id)),
      pictures: document.querySelectorAll('svg[role=img]').length,
    })""")

    levels = found.pop("levels")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert found == {
        "lang": "en", "landmarks": [1, 1, 1], "unnamed": 0, "captionless": 0, "headless": 0,
        "rowless": 0, "silent": 0, "twice": 0, "pictures": 3,
    }  # fmt: skip


def test_the_picture_of_the_journey_and_its_table_say_the_same(opened):
    page = opened()
    text = page.locator("#flow-text").text_content()
    table = page.locator("#journey ~ .beside tbody tr").all_inner_texts()

    for row in table:
        name, number, _ = row.split("\t")
        said = f"{number} {name.strip().removeprefix('of these ')}"
        assert number == "0" or said in text, said
    drawn = page.evaluate("""() => [...document.querySelectorAll('#journey ~ .beside .fill-stream')]
      .map(el => el.getBBox().width)""")
    assert drawn[0] / drawn[1] == pytest.approx(95 / 85, rel=0.01)


def test_the_keyboard_reaches_all_that_opens(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open") is True


def test_what_is_not_told_by_colour_alone(opened):
    page = opened()
    labels = page.locator(".key li").all_inner_texts()
    assert "2 failed" in labels
    assert "1 unconfirmed" in labels
    assert page.locator(".tag").all_inner_texts() == ["failed", "failed", "unconfirmed"]
    assert page.locator("svg [fill^='url(#']").count() >= 4  # hatched, dotted


def test_on_paper_everything_is_open_and_nothing_is_cut(opened, tmp_path):
    page = opened(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")

    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    shown = page.evaluate(
        """() => [...document.querySelectorAll('details table')]
        .map(table => table.getBoundingClientRect().height)"""
    )
    assert len(shown) == 2
    assert all(height > 20 for height in shown)
    paper = page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert paper.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type /Page\b", paper)) <= 6


def test_it_can_be_looked_at(opened, tmp_path):
    shot = opened().screenshot(path=tmp_path / "report.png", full_page=True)

    assert shot.startswith(b"\x89PNG")
    assert math.log10(len(shot)) > 4
