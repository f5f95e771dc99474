"""The report in a real browser: `make test-browser`. Chromium, without network, as a person would use it."""

import base64
import io
import os
import shutil

import numpy as np
import pytest
from hostile import FOLDERS, results
from html_pages import SVG, plane, write_runs
from PIL import Image

from parmesan_cagem.report import build, decode, explorer

pytestmark = pytest.mark.browser
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
PHONE, DESKTOP = {"width": 375, "height": 812}, {"width": 1280, "height": 900}
SHOTS = os.environ.get("CAGEM_SCREENSHOTS")  # a folder: pictures of the page are left there

SMALL_TEXT = """
  [...document.querySelectorAll("p, td, th, li, dd, dt, label")]
    .filter((e) => e.offsetParent && e.innerText.trim() && parseFloat(getComputedStyle(e).fontSize) < 12)
    .map((e) => e.innerText)
"""
OUTLINE = """() => {
  const style = getComputedStyle(document.activeElement);
  return [style.outlineStyle, parseFloat(style.outlineWidth)];
}"""
POOR_CONTRAST = """() => {
  const channels = (css) => css.match(/[\\d.]+/g).map(Number);
  const over = (under, [r, g, b, a = 1]) => [r, g, b].map((v, i) => a * v + (1 - a) * under[i]);
  const below = (e) => {
    const layers = [];
    for (; e; e = e.parentElement) {
      layers.unshift(channels(getComputedStyle(e).backgroundColor));
      if ((layers[0][3] ?? 1) === 1) break;
    }
    return layers.reduce(over, [255, 255, 255]);
  };
  const linear = (v) => (v <= 10.31475 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const speaks = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  return [...document.querySelectorAll("body *")]
    .filter((e) => e.checkVisibility() && speaks(e) && !e.closest("svg, canvas"))
    .map((e) => [ratio(light(channels(getComputedStyle(e).color)), light(below(e))), e.outerHTML.slice(0, 80)])
    .filter(([found]) => found < 4.5);
}"""


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("chromium is missing. Fix: apt-get install chromium, or CHROMIUM=/path/to/it")
    playwright_api = pytest.importorskip("playwright.sync_api", reason="no playwright (make test-browser has it)")

    with playwright_api.sync_playwright() as playwright:
        # Chromium's sandbox does not start as root, as in containers.
        running = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield running
        running.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A report of three runs, one of them evil, with an explorer of made-up pictures."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "figures").mkdir()
    for name in ("figure3", "figure5", "curves-mnist-cagem-100-short-s1"):
        # An SVG with a script of its own, which an <img> must not run.
        script = b"<script>parent.evil=1;window.evil=1;fetch('http://127.0.0.1:9/')</script></svg>"
        (folder / "figures" / f"{name}.svg").write_bytes(SVG.replace(b"</svg>", script))
    (folder / "figures" / "captions.json").write_text('{"figure3": {}, "figure5": {}}')
    made = plane(points=7)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "section", lambda runs, data_dir: (explorer.section(made, "made <b>up</b>"), "explorer"))
        content, _ = build.build(write_runs(folder / "runs"), folder / "figures", None)
    (folder / "report.html").write_bytes(content)
    return folder / "report.html"


class Watched:
    """A page, and all that it complained about or asked the network for."""

    def __init__(self, browser, path, viewport, scheme="light"):
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme, has_touch=viewport is PHONE)
        self.page = self.context.new_page()
        self.trouble, self.requests = [], []
        self.page.on("console", lambda message: self.trouble.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("requestfailed", lambda request: self.trouble.append(request.url))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: self.trouble.append(dialog.message))
        self.page.goto(path.as_uri())
        self.page.wait_for_function("document.getElementById('digit')?.dataset.shown")

    def picture(self, canvas="digit"):
        """What a canvas shows, once what was asked for is drawn: equal texts, equal pixels."""
        self.page.wait_for_timeout(50)
        return self.page.evaluate("id => document.getElementById(id).toDataURL()", canvas)

    def text(self, id_="explorer-text"):
        return self.page.evaluate("id => document.getElementById(id).textContent", id_)

    def live(self):
        self.page.wait_for_timeout(400)
        return self.text("explorer-live")


@pytest.fixture
def watched(browser, path):
    """Opens the report; whatever it complained of, or asked the network for, fails the test at its end."""
    opened = []

    def open_(viewport=DESKTOP, scheme="light"):
        opened.append(Watched(browser, path, viewport, scheme))
        return opened[-1]

    yield open_
    for one in opened:
        one.page.wait_for_timeout(50)
        assert one.trouble == []
        assert [url for url in one.requests if not url.startswith("data:")] == [path.as_uri()]
        one.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_loads_and_fits_the_width(watched, viewport, scheme):
    page = watched(viewport, scheme).page
    fits = "document.documentElement.scrollWidth <= window.innerWidth"
    assert page.evaluate(fits)
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{scheme}-{viewport['width']}.png", full_page=True)
    links = page.locator("#runs table.runs a")
    for index in range(links.count()):
        links.nth(index).click()
        page.locator("section.run:target summary").first.click()
        assert page.evaluate(fits)
    # Wide content is there all the same: it scrolls within its box.
    assert page.evaluate(
        "[...document.querySelectorAll('.run:target .scroll')].every(b => b.clientWidth <= innerWidth)"
    )


def test_text_is_large_enough_on_a_phone(watched):
    page = watched(PHONE).page
    small = page.evaluate(SMALL_TEXT)
    assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(watched, scheme):
    """WCAG AA: 4.5 to 1 for every colour of text on the colour below it."""
    page = watched(DESKTOP, scheme).page
    page.locator("#runs table.runs a").first.click()
    poor = page.evaluate(POOR_CONTRAST)
    assert poor == []


def test_the_mouse_moves_the_picture(watched):
    opened = watched()
    opened.page.locator("#plane").scroll_into_view_if_needed()
    box = opened.page.locator("#plane").bounding_box()
    seen = set()
    for x, y in ((0.5, 0.5), (0.2, 0.3), (0.8, 0.7), (0.81, 0.7)):
        opened.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        seen.add((opened.picture(), opened.picture("plane"), opened.text()))
    for part in range(3):
        assert len({one[part] for one in seen}) == 4
    assert "z2 = (1.86, −1.20)" in opened.text()


def test_a_finger_moves_the_picture(watched):
    opened = watched(PHONE)
    opened.page.locator("#plane").scroll_into_view_if_needed()
    before = opened.picture()
    box = opened.page.locator("#plane").bounding_box()
    opened.page.touchscreen.tap(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    assert "z2 = (−1.50, 1.50)" in opened.text()
    assert opened.picture() != before


def test_the_picture_is_the_sheets_tile(watched):
    """At a point of the grid, the canvas shows the image that was decoded there, pixel by pixel."""
    opened = watched()
    opened.page.locator("#plane").focus()
    opened.page.keyboard.press("4")
    for _ in range(2):
        opened.page.keyboard.press("Shift+ArrowRight")  # z2 = (1, 0): column 4 of 7, row 3
    images = plane(points=7)[1]
    data = opened.picture().removeprefix("data:image/png;base64,")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))
    np.testing.assert_array_equal(shown, (255 * images[4, 3 * 7 + 4]).round().reshape(28, 28))


def test_the_class_changes_the_picture(watched):
    opened = watched()
    automatic, seen = opened.picture(), set()
    for c in (1, 4, 7):
        opened.page.get_by_role("radio", name=str(c), exact=True).check()
        seen.add(opened.picture())
        assert f"Class {c}, fixed" in opened.text()
    assert len(seen) == 3
    opened.page.get_by_role("radio", name="automatic").check()
    assert "automatic" in opened.text()
    assert opened.picture() == automatic


def test_the_keyboard_does_it_all(watched):
    opened = watched()
    page = opened.page
    for _ in range(200):  # reached with Tab alone
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "plane":
            break
    assert page.evaluate("document.activeElement.id") == "plane"
    outline = page.evaluate(OUTLINE)
    assert outline == ["solid", 3]
    for keys, wanted in (
        (["ArrowRight"], "z2 = (0.10, 0.00)"),
        (["ArrowUp", "ArrowUp"], "z2 = (0.10, 0.20)"),
        (["ArrowLeft", "Shift+ArrowDown"], "z2 = (0.00, −0.30)"),
        (["3"], "Class 3, fixed"),
        (["a"], "automatic"),
        (["Shift+ArrowRight"] * 20, "z2 = (3.00, −0.30)"),
        (["Home"], "z2 = (0.00, 0.00)"),
    ):
        before, heard = opened.picture(), opened.live()
        for key in keys:
            page.keyboard.press(key)
        assert wanted in opened.text()
        assert opened.live() == opened.text() != heard
        assert "Most probable:" in opened.text()
        assert opened.picture() != before
    # Keys that are none of ours stay the browser's.
    scrolled = page.evaluate("scrollY")
    page.keyboard.press("PageDown")
    page.wait_for_timeout(400)
    assert page.evaluate("scrollY") > scrolled


def test_night_paints_the_plane_anew(watched):
    opened = watched()
    before = opened.picture("plane")
    opened.page.emulate_media(color_scheme="dark")
    assert opened.picture("plane") != before


def test_every_run_is_reached_by_its_link(watched):
    page = watched().page
    links = page.locator("#runs table.runs a")
    assert links.count() == 3
    assert page.locator("section.run:visible").count() == 0
    for index in range(3):
        name = links.nth(index).inner_text()
        links.nth(index).click()
        assert page.locator("section.run:visible").count() == 1
        assert page.locator("section.run:target h3").inner_text() == name
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/evil-run.png", full_page=True)


def test_what_records_say_does_not_run(watched):
    page = watched().page
    page.wait_for_timeout(300)
    assert page.evaluate("window.evil") is None
    for index in range(3):
        page.locator("#runs table.runs a").nth(index).click()
    assert page.evaluate("window.evil") is None
    assert "<script>window.evil=1</script>" in page.locator("section.run").first.inner_text()


def test_the_policy_stops_what_escaping_would_have_missed(browser, path, tmp_path):
    """The second line of defence: markup put into the finished page by hand does nothing."""
    added = "<script>window.evil=1</script><img src=x onerror='window.evil=1'><img src='http://127.0.0.1:9/x.png'>"
    broken = tmp_path / "broken.html"
    broken.write_text(path.read_text(encoding="utf-8").replace("<main", f"{added}<main", 1), encoding="utf-8")
    opened = Watched(browser, broken, DESKTOP)
    assert opened.page.evaluate("window.evil") is None
    assert any("Content Security Policy" in line for line in opened.trouble)
    assert (
        opened.page.evaluate("performance.getEntriesByType('resource').filter(r => r.responseStatus > 0).length") == 0
    )
    opened.context.close()


def test_printed_it_holds_every_run(watched):
    page = watched().page
    page.emulate_media(media="print")
    assert page.locator("section.run:visible").count() == 3
    assert page.pdf().startswith(b"%PDF")


def test_results_of_strangers_do_not_run(browser, tmp_path):
    """Every text of records, settings, captions and published numbers an attack, and the runs' folders named so too."""
    runs, figures, published = results(tmp_path)
    content, _ = build.build(runs, figures, None, published)
    path = tmp_path / "hostile.html"
    path.write_bytes(content)
    context = browser.new_context(viewport=DESKTOP)
    page, trouble, requests = context.new_page(), [], []
    for event in ("console", "pageerror", "dialog", "popup", "download", "framenavigated"):
        page.on(event, lambda found, event=event: trouble.append((event, str(found))))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    links = page.locator("#runs table.runs a")
    assert links.count() == len(FOLDERS)
    for index in range(links.count()):
        links.nth(index).click()
        for summary in page.locator("section.run:target summary").all():
            summary.click()
    page.wait_for_timeout(500)
    assert page.evaluate("[window.evil, document.scripts.length, frames.length]") == [None, 1, 0]
    assert [found for found in trouble if found[0] != "framenavigated"] == []
    assert {url for url in requests if not url.startswith("data:")} == {path.as_uri()}
    assert page.evaluate("[...document.querySelectorAll('a')].every(a => a.protocol === 'file:')")
    assert "<script>window.evil=1</script>" in page.locator("#tables").inner_text()
    context.close()
