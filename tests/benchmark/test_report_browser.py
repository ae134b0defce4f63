"""Report and leaderboard in a real browser, without a display: sorting by mouse and keys, width, darkness, print."""

from __future__ import annotations

import importlib.util
import json
import runpy
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from tests.benchmark.video_samples import write_study

PROGRAMS = ("chromium", "chromedriver")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
MISSING += [] if importlib.util.find_spec("selenium") else ["selenium"]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (Debian: chromium, chromium-driver; PyPI: selenium)"
)

samples = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("report_samples.py"))))

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
PATIENCE_S = 10
PHONE = (360, 740)
DESK = (1280, 900)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    downloads = tmp_path_factory.mktemp("downloads")
    for option in (*OPTIONS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    driver.downloads = downloads
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Addresses of a report and of a leaderboard."""
    root = tmp_path_factory.mktemp("browser")
    samples.write_sweep(root / "entries" / "paper", hidden=(2, 8, 48))
    name = "py:lab.models:a_factory_whose_name_is_much_too_long_for_any_phone</script><img src=x onerror=alert(1)>"
    samples.write_run(root / "entries" / "outside", samples.run_config(name, 0))
    paths = [str(root / "entries" / each) for each in ("paper", "outside")]
    for arguments in (
        ["report", *paths, "--out", str(root / "report.html")],
        ["leaderboard", "build", str(root / "entries"), "--out", str(root / "site")],
    ):
        assert CliRunner().invoke(cli, arguments).exit_code == 0
    files = {"report": root / "report.html", "index": root / "site" / "index.html"}
    write_study(root / "study" / "d48-a")
    write_study(root / "study" / "d48-c", "c", missing=("TimeSformer",))
    files["study"] = root / "study.html"
    studies = [str(root / "study" / each) for each in ("d48-a", "d48-c")]
    assert CliRunner().invoke(cli, ["report", *studies, "--out", str(files["study"])]).exit_code == 0
    files["entry"] = sorted((root / "site" / "entries").iterdir())[0]
    return {name: path.as_uri() for name, path in files.items()}


@pytest.fixture
def visit(browser, pages):
    def call(page, size=DESK, scheme="light", media=""):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features, "media": media})
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(pages[page])
        return browser

    yield call
    assert [entry for entry in browser.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}] == []


def keys_of(browser, column):
    """What the rows of the first table are sorted by, as they stand; None where there is nothing."""
    script = "return [...document.querySelector('table').tBodies[0].rows].map(r => r.cells[arguments[0]].dataset.v)"
    return browser.execute_script(script, column)


def head(browser, text, nth=0):
    script = "return [...document.querySelector('table').querySelectorAll('th[data-column]')]"
    script += ".filter(h => h.textContent.trim() === arguments[0])[arguments[1]]"
    return browser.execute_script(script, text, nth)


def active_sorts(browser):
    script = "return [...document.querySelectorAll('th[aria-sort]')].map(h => h.getAttribute('aria-sort'))"
    return [each for each in browser.execute_script(script) if each != "none"]


@pytest.mark.parametrize("page", ["report", "index"])
def test_a_click_sorts_and_another_turns_it_round(visit, page):
    browser = visit(page)
    column = head(browser, "rr", 2)
    number = int(column.get_attribute("data-column"))
    column.find_element("tag name", "button").click()
    down = keys_of(browser, number)
    values = [float(value) for value in down if value]
    assert len(values) == 12 and values == sorted(values, reverse=True)
    assert down[-1] is None  # not valid: last in both directions
    assert column.get_attribute("aria-sort") == "descending"
    column.find_element("tag name", "button").click()
    up = keys_of(browser, number)
    assert [float(value) for value in up if value] == sorted(values) and up[-1] is None
    assert active_sorts(browser) == ["ascending"]


def test_words_and_sizes_sort_by_the_keyboard(visit):
    from selenium.webdriver.common.keys import Keys

    browser = visit("report")
    for name, key in (("model", Keys.ENTER), ("h", Keys.SPACE)):
        button = head(browser, name).find_element("tag name", "button")
        browser.execute_script("arguments[0].focus()", button)
        browser.switch_to.active_element.send_keys(key)
        number = int(head(browser, name).get_attribute("data-column"))
        keys = [each for each in keys_of(browser, number) if each]
        by_size = [float(each) for each in keys] if name == "h" else keys
        assert by_size == sorted(by_size, key=lambda each: each.lower() if isinstance(each, str) else each)
        assert browser.switch_to.active_element == button


def test_heads_are_reached_by_tab(visit):
    from selenium.webdriver.common.keys import Keys

    browser = visit("report")
    reached = []
    for _ in range(20):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.switch_to.active_element.text)
    assert {"To the numbers", "model", "V", "rr"} <= set(reached)


@pytest.mark.parametrize("page", ["report", "index", "entry", "study"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_nothing_sticks_out(visit, page, size):
    browser = visit(page, size)
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= size[0]  # a scroll bar takes some
    # What is wider than the window scrolls in a region of its own.
    script = """return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg')
        && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    assert browser.execute_script(script) == []


@pytest.mark.parametrize("page", ["report", "index", "entry"])
def test_dark_and_light(visit, page):
    def luminance(scheme):
        browser = visit(page, scheme=scheme)
        read = "return getComputedStyle(document.body)[arguments[0]].match(/[0-9]+/g).slice(0, 3).map(Number)"
        return [sum(browser.execute_script(read, name)) for name in ("backgroundColor", "color")]

    (light_paper, light_ink), (dark_paper, dark_ink) = luminance("light"), luminance("dark")
    assert light_paper > 700 and light_ink < 150
    assert dark_paper < 150 and dark_ink > 600


def test_letters_in_figures_do_not_touch(visit):
    """Ticks and names on the axes of every figure, as they are drawn."""
    browser = visit("report")
    script = """
    const bad = [];
    for (const svg of document.querySelectorAll('figure .panels svg')) {
      const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
      const frame = svg.getBoundingClientRect();
      for (const [text, box] of boxes) {
        if (box.left < frame.left - 1 || box.right > frame.right + 1) bad.push(['outside', text]);
      }
      for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
        const [a, b] = [boxes[i][1], boxes[j][1]];
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > 1 && y > 3) bad.push([boxes[i][0], boxes[j][0]]);
      }
    }
    return bad"""
    assert browser.execute_script(script) == []
    assert browser.execute_script("return document.querySelectorAll('figure .panels svg').length") == 1 + 3 + 4 + 3


def test_a_link_opens_its_record(visit):
    browser = visit("report")
    browser.find_element("css selector", "tbody a").click()
    opened = browser.find_elements("css selector", "details[open]")
    assert len(opened) == 1 and "Environment" in opened[0].text


def test_the_records_can_be_saved(visit):
    browser = visit("report")
    browser.find_element("id", "download").click()
    path, deadline = browser.downloads / "records.json", time.monotonic() + PATIENCE_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(json.loads(path.read_text())["entries"]) == 13


def test_a_printed_report_is_light_and_shows_every_record(visit):
    browser = visit("report", scheme="dark", media="print")
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert len(browser.find_elements("css selector", "details[open]")) == 13
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.find_elements("css selector", "details[open]") == []
