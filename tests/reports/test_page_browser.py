"""The page in a real Chromium, headless and without a network."""

import difflib
import json
import os
import shutil

import pytest
from synthetic import HOSTILE, embedded_grid, write_run

from reports.compile import compile_report

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
if not os.environ.get("REQUIRE_BROWSER"):  # CI: what it needs is there, or that it is not is an error
    pytest.importorskip("selenium", reason="needs selenium (pip install -e .[dev])")
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromium-driver on the path", allow_module_level=True)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    grid = [item for item in embedded_grid() if item.method in ("base", "eft", "ivg")]
    write_run(folder / "run", grid=grid, n_dev=8, n_test=24)
    compile_report([folder / "run"], folder / "out", resamples=20)
    return (folder / "out" / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, url):
    """The page at desktop size, light, freshly loaded."""
    return opened(browser, url)


def opened(browser, url, width=1280, height=1000, scheme="light"):
    browser.get_log("browser")
    browser.get_log("performance")
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(url)
    return browser


def drawn(page):
    """Scroll through the figures until each is drawn; their number."""
    from selenium.webdriver.support.ui import WebDriverWait

    count = page.execute_script("return document.querySelectorAll('[data-plot]').length")
    page.execute_script("document.querySelectorAll('[data-plot]').forEach(box => box.scrollIntoView())")
    for i in range(count):
        page.execute_script("document.querySelectorAll('[data-plot]')[arguments[0]].scrollIntoView()", i)
        box = f"return !!document.querySelectorAll('[data-plot]')[{i}].querySelector('svg.main-svg')"
        WebDriverWait(page, 20).until(lambda page, box=box: page.execute_script(box))
    return count


def choose(page, id, value):
    page.execute_script(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('input'))",
        id,
        value,
    )


def cards(page):
    """(prompt text, left response, right response, right minus left) of every card of the shown page."""
    return page.execute_script("""
        const data = JSON.parse(document.getElementById('samples-data').textContent);
        return [...document.querySelectorAll('#samples-list article')].map(card => {
          const gap = card.querySelector('h3').textContent.match(/right minus left ([+−0-9.]+)/);
          return [card.querySelector('.prompt').textContent,
                  ...[...card.querySelectorAll('.pair > div > .response')].map(e => e.textContent),
                  gap ? Number(gap[1].replace('−', '-')) : null];
        });""")


def test_it_opens_without_an_error_or_a_request(page, url):
    assert drawn(page) >= 4
    assert page.get_log("browser") == []
    asked = []
    for entry in page.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert [address for address in asked if not address.startswith(("data:", "blob:", url))] == []


def test_hostile_text_is_shown_as_text_and_does_nothing(page):
    choose(page, "search", "pwned")
    shown = cards(page)
    assert shown
    assert any(HOSTILE[0] in card[1] for card in shown)
    assert any(HOSTILE[1] in card[1] for card in shown)
    assert page.execute_script("return window.pwned === undefined")
    assert (
        page.execute_script("return document.querySelectorAll('#samples-list img, #samples-list script').length") == 0
    )
    choose(page, "search", "red")
    assert any("␛[31mred␛[0m" in card[1] for card in cards(page))
    assert "\x1b" not in page.execute_script("return document.body.innerText")
    isolated = (
        "return [...document.querySelectorAll('.response')].every(e => getComputedStyle(e).unicodeBidi === 'isolate')"
    )
    assert page.execute_script(isolated)


def test_sorting_by_the_difference_of_two_settings(page):
    choose(page, "sort", "gain")
    gaps = [card[3] for card in cards(page)]
    assert gaps == sorted(gaps, reverse=True)
    choose(page, "sort", "loss")
    least = [card[3] for card in cards(page)]
    assert least == sorted(least)
    assert least[0] < gaps[0]
    choose(page, "sort", "apart")
    sizes = [abs(card[3]) for card in cards(page)]
    assert sizes == sorted(sizes, reverse=True)


def test_outcome_prompt_and_setting_filters(page):
    total = page.execute_script("return parseInt(document.getElementById('count').textContent)")
    counts = {}
    for outcome, holds in (
        ("right", lambda gap: gap > 0),
        ("left", lambda gap: gap < 0),
        ("tie", lambda gap: gap == 0),
    ):
        choose(page, "outcome", outcome)
        counts[outcome] = page.execute_script("return parseInt(document.getElementById('count').textContent)")
        assert all(holds(card[3]) for card in cards(page))
    assert sum(counts.values()) == total
    choose(page, "outcome", "")
    choose(page, "prompt", "3")
    shown = cards(page)
    assert len({card[0] for card in shown}) == 1
    assert len(shown) == 2  # seeds
    choose(page, "left", page.execute_script("return document.getElementById('right').value"))
    assert all(card[1] == card[2] and card[3] == 0 for card in cards(page))
    assert (
        page.execute_script("return document.querySelectorAll('#samples-list .pair > div > .response mark').length")
        == 0
    )


def test_marks_are_exactly_the_words_that_differ(page):
    left, right, marked = page.execute_script("""
        const pair = document.querySelectorAll('#samples-list .pair')[10];
        const texts = [...pair.querySelectorAll(':scope > div > .response')];
        return [...texts.map(e => e.textContent.split(/\\s+/)),
                texts.map(e => [...e.querySelectorAll('mark')].flatMap(m => m.textContent.trim().split(/\\s+/)))];""")
    assert len(left) - len(marked[0]) == len(right) - len(marked[1])
    # a longest common subsequence is at least as long as the one that difflib's heuristic finds
    blocks = difflib.SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
    assert len(left) - len(marked[0]) >= sum(block.size for block in blocks)


def test_traces_name_changed_tokens_and_kept_hypotheses(page):
    text = page.execute_script("""
        document.querySelectorAll('#samples-list details').forEach(d => d.open = true);
        return document.querySelector('#samples-list details.trace').innerText;""")
    assert "changed the most likely token (3 of" in text
    assert "✓ kept" in text
    assert "– dropped" in text
    assert "After token 5" in text


def test_the_table_sorts_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    button = page.execute_script("""
        const heads = [...document.querySelectorAll('table.sortable th')];
        const head = heads.find(h => h.textContent.includes('gold reward'));
        const button = head.querySelector('button'); button.focus(); return button;""")
    values = """
        const table = document.querySelector('table.sortable');
        const column = [...table.tHead.rows[0].cells].findIndex(h => h.textContent.includes('gold reward'));
        return [...table.tBodies[0].rows].map(r => Number(r.cells[column].dataset.value));"""
    button.send_keys(Keys.ENTER)
    falling = page.execute_script(values)
    assert falling == sorted(falling, reverse=True)
    button.send_keys(Keys.SPACE)
    assert page.execute_script(values) == falling[::-1]


def test_every_control_is_reached_and_works_with_the_keyboard(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.getElementById('left').focus()")
    reached = []
    for _ in range(6):
        reached.append(page.execute_script("return document.activeElement.id"))
        ActionChains(page).send_keys(Keys.TAB).perform()
    assert reached == ["left", "right", "search", "prompt", "outcome", "sort"]
    before = cards(page)[0]
    page.execute_script("document.getElementById('next').focus()")
    ActionChains(page).send_keys(Keys.ENTER).perform()
    assert page.execute_script("return document.getElementById('where').textContent").startswith("page 2 of")
    assert cards(page)[0] != before
    unlabelled = "return [...document.querySelectorAll('select, input')].filter(e => !e.labels.length).length"
    assert page.execute_script(unlabelled) == 0


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (390, "dark"), (768, "light"), (1280, "dark")])
def test_no_width_scrolls_sideways(browser, url, width, scheme):
    page = opened(browser, url, width, 800, scheme)
    drawn(page)
    assert page.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.get_log("browser") == []


CONTRAST = """
    const channel = c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
    const light = rgb => { const [r, g, b] = rgb.match(/[\\d.]+/g).map(Number);
      return .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b); };
    const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(c) && c !== 'transparent') return c; } return 'rgb(255, 255, 255)'; };
    const found = [];
    const texts = 'p, li, th, td, small, a, mark, h1, h2, h3, h4, .interval, .tag, label, summary, dt, dd';
    for (const e of document.querySelectorAll(texts)) {
      if (!e.textContent.trim() || !e.getClientRects().length || e.closest('.plot')) continue;
      const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
      const ratio = (a + .05) / (b + .05);
      if (ratio < 4.5) found.push([e.tagName, e.className, e.textContent.trim().slice(0, 30), ratio]);
    }
    return found;"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(browser, url, scheme):
    page = opened(browser, url, scheme=scheme)
    assert page.execute_script(CONTRAST) == []


def test_dark_mode_reaches_the_figures_too(browser, url):
    grounds = {}
    for scheme in ("light", "dark"):
        page = opened(browser, url, scheme=scheme)
        drawn(page)
        grounds[scheme] = page.execute_script("""
            return [getComputedStyle(document.body).backgroundColor,
                    document.querySelector('.plot .main-svg').style.background];""")
    assert grounds["light"][0] != grounds["dark"][0]
    assert grounds["light"][1] != grounds["dark"][1]
