"""Reads our HTML pages strictly: every tag closed, every id once, nothing from elsewhere."""

import re
from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """The page's pieces: `tags` as (name, attributes), `data` as class to values of <data>, `text` without markup."""

    def __init__(self, source: str):
        super().__init__(convert_charrefs=True)
        self.source, self.open = source, []
        self.tags: list[tuple[str, dict]] = []
        self.data: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.captions: list[str] = []
        self._words: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = " ".join("".join(self._words).split())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        assert len(found) == len(attributes), f"repeated attribute in {tag}"
        self.tags.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "data":
            self.data.setdefault(found["class"], []).append(found["value"])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "figcaption":
            self.captions.append("")
        self._words.append(" ")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()
        self._words.append(" ")

    def handle_data(self, data):
        if "style" in self.open:
            return
        self._words.append(data)
        if self.open and self.rows and {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data
        if "figcaption" in self.open:
            self.captions[-1] += " " + data

    def all(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == name]


def read_page(path) -> Page:
    """Parse a page and hold it to what every page promises."""
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    assert source.startswith("<!DOCTYPE html>")
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("iframe")
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), f"{tag} {attributes}"
    assert all(
        image["src"].startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for image in page.all("img")
    )
    assert all(image["alt"].strip() for image in page.all("img"))
    links = [attributes["href"] for attributes in page.all("a")]
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert not [id for id, count in ids.items() if count > 1]
    referred = re.findall(r'(?:url\(|xlink:href=")#([^)"]+)', source)
    assert {*referred} <= ids.keys()
    assert {*re.findall(r"https?://[^\"'\s<]+", source)} <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    policy = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert "prefers-color-scheme: dark" in source
    assert "@media print" in source
    return page
