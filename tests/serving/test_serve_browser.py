"""The page in a real Chromium: by mouse, by keyboard and on a phone; it loads nothing from any other host."""

import re
import shutil

import numpy as np
import pytest
from PIL import features
from test_serve import GREY, NOISE, make_model, picture

from made import noise
from run_server import running

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing")

FLAGS = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


def as_file(name: str, content: bytes) -> dict:
    return {"name": name, "mimeType": "image/png", "buffer": content}


FILES = [as_file("noise.png", NOISE), as_file("grey.png", GREY)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    model = make_model(tmp_path_factory.mktemp("model") / "model.safetensors")
    with running(model, tmp_path_factory.mktemp("server") / "cwd", max_bytes=300_000) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, server):
    """Open the page; in the end check that it logged no error and loaded nothing from another host."""
    own = f"http://127.0.0.1:{server.port}/"
    pages, messages, requests = [], [], []

    def open_page(**options):
        context = browser.new_context(**options)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(own)
        expect(page.locator("#model")).to_contain_text("distinguishes 4 classes: cat, dog, owl, élan.")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.context.close()
    refusals = [
        text for text in messages if "the server responded with a status of 400" in text
    ]  # Chromium's own words
    assert messages == refusals
    assert requests
    assert all(url.startswith((own, f"blob:{own}")) for url in requests)


def card(page, name: str):
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))


def percent_of(text: str) -> float:
    return float(re.search(r"([\d.]+)%", text)[1])


def test_two_pictures_are_classified_with_bars_and_a_warning(open_page, server):
    page = open_page()
    page.set_input_files("#files", FILES)
    expect(page.get_by_role("status")).to_have_text("2 of 2 pictures classified; 1 unlike the training pictures.")
    for name, content in (("noise.png", NOISE), ("grey.png", GREY)):
        wanted = server.ask("POST", "/api/classify", content)[2]
        rows = card(page, name).locator(".classes li")
        expect(rows).to_have_count(4)
        for row, (label, probability) in zip(
            rows.all(), ((c["name"], c["probability"]) for c in wanted["classes"]), strict=True
        ):
            assert row.locator(".name").inner_text() == label
            assert percent_of(row.inner_text()) == pytest.approx(100 * probability, abs=0.051)
            bar, track = row.locator(".bar span").bounding_box(), row.locator(".bar").bounding_box()
            assert bar["width"] == pytest.approx(max(1, track["width"] * probability), abs=1)
        warning = card(page, name).get_by_text("Unlike the training pictures.")
        expect(warning).to_be_visible(visible=wanted["is_strange"])
    assert [heading.inner_text() for heading in page.locator("li.result h2").all()] == ["noise.png", "grey.png"]


def test_a_file_that_cannot_be_read_gets_the_reason_and_the_others_are_classified(open_page):
    page = open_page()
    large = as_file("large.png", picture(noise(1, size=400)[0]))
    page.set_input_files("#files", [as_file("letter.txt", b"Dear Sir"), FILES[0], large])
    expect(page.get_by_role("status")).to_contain_text("1 of 3 pictures classified")
    expect(card(page, "letter.txt")).to_contain_text("The picture cannot be read: not a picture of a known format")
    expect(card(page, "letter.txt")).to_contain_text("no preview")
    expect(card(page, "large.png")).to_contain_text("The file is larger than 292 KiB")
    expect(card(page, "noise.png").locator(".classes li")).to_have_count(4)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")
def test_avif_is_sent_as_a_copy_that_the_server_reads(open_page, server):
    avif = picture(noise(1, size=200)[0], "AVIF")
    assert server.ask("POST", "/api/classify", avif)[0] == 400
    page = open_page()
    page.set_input_files("#files", [{"name": "photo.avif", "mimeType": "image/avif", "buffer": avif}])
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^photo\.avif: \w+, [\d.]+%"))
    expect(card(page, "photo.avif").locator(".classes li")).to_have_count(4)


def test_photographs_are_shown_larger_than_tiny_pictures(open_page):
    page = open_page()
    page.set_input_files("#files", [FILES[0], as_file("photo.png", picture(noise(1, size=200)[0]))])
    expect(page.get_by_role("status")).to_contain_text("2 of 2 pictures classified")
    widths = [card(page, name).locator("img").bounding_box()["width"] for name in ("noise.png", "photo.png")]
    assert widths == [pytest.approx(136, abs=1), pytest.approx(192, abs=1)]


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_pictures_can_be_dropped_and_pasted(open_page, event):
    page = open_page()
    page.evaluate(
        """([event, bytes]) => {
          const data = new DataTransfer();
          for (const name of ["a.png", "b.png"]) data.items.add(new File([new Uint8Array(bytes)], name));
          const made = event === "drop"
            ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
          document.body.dispatchEvent(made);
        }""",
        [event, list(NOISE)],
    )
    expect(page.get_by_role("status")).to_have_text("2 of 2 pictures classified.")


def test_everything_works_by_keyboard(open_page):
    page = open_page()
    page.on("filechooser", lambda chooser: chooser.set_files([*FILES, as_file("third.png", NOISE)]))
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose pictures")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("3 of 3 pictures classified")
    focused = []
    for _ in range(5):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent.trim()"))
    assert focused == ["Use the camera", "Remove all", "Remove noise.png", "Remove grey.png", "Remove third.png"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Remove third.png")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Remove noise.png")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Choose pictures")).to_be_focused()
    expect(page.locator("li.result")).to_have_count(0)


def test_a_screen_reader_finds_names_and_results(open_page):
    page = open_page()
    expect(page.get_by_role("status")).to_be_attached()  # there before it has anything to say
    page.set_input_files("#files", [as_file("grey.png", GREY)])
    status = page.get_by_role("status")
    expect(status).to_have_text(re.compile(r"^grey\.png: \w+, [\d.]+%; unlike the training pictures\.$"))
    tree = page.locator("main").aria_snapshot()
    assert 'heading "grey.png" [level=2]' in tree
    assert 'button "Remove grey.png"' in tree
    assert re.search(r"listitem: (cat|dog|owl|élan) [\d.]+%", tree), "a class and its share are read as one"
    expect(page.get_by_role("list", name="Results")).to_be_visible()


def test_the_camera_takes_a_picture(open_page):
    page = open_page(permissions=["camera"])
    opener = page.get_by_role("button", name="Use the camera")
    opener.click()
    shoot = page.get_by_role("button", name="Take the picture")
    expect(shoot).to_be_enabled()
    expect(shoot).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"camera .*: \w+, [\d.]+%"))
    expect(page.locator("#video")).to_have_js_property("srcObject", None)  # the camera is off again
    opener.click()
    expect(shoot).to_be_enabled()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    expect(page.locator("#video")).to_have_js_property("srcObject", None)


def test_many_pictures_are_all_answered(open_page):
    page = open_page()
    page.set_input_files("#files", [as_file(f"{number}.png", NOISE) for number in range(60)])
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("60 of 60 pictures classified.", timeout=20_000)
    expect(page.get_by_role("progressbar")).to_be_hidden()
    expect(page.locator(".classes li:first-child")).to_have_count(60)
    page.get_by_role("button", name="Remove all").click()
    expect(page.locator("li.result")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(open_page, scheme):
    page = open_page(**PHONE, color_scheme=scheme)
    long = as_file("a-very-long-name-without-any-place-to-break-it-" + "x" * 80 + ".png", NOISE)
    page.set_input_files("#files", [*FILES, long])
    expect(page.get_by_role("status")).to_contain_text("3 of 3")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, "nothing sticks out to the right"
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 32, "large enough for a finger"
    for selector in (
        "#model",
        "#invitation",
        ".answer",
        ".value",
        ".strange:not([hidden])",
        "#choose",
        "footer p",
        "h2",
    ):
        assert contrast(page, selector) >= 4.5, f"{selector} is too faint in the {scheme} scheme"


def contrast(page, selector: str) -> float:
    """Return WCAG 2's contrast ratio of an element's text to what is behind it."""
    colours = page.evaluate(
        """selector => {
          const element = [...document.querySelectorAll(selector)].find((e) => e.offsetWidth);
          const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
          let behind = element;
          while (rgb(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
          return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(rgb);
        }""",
        selector,
    )
    values = [np.array(colour[:3]) / 255 for colour in colours]
    linear = [np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) for v in values]
    dark, light = sorted(float(v @ [0.2126, 0.7152, 0.0722]) for v in linear)
    return (light + 0.05) / (dark + 0.05)
