"""Pages as a reader's program sees them."""

import re
from html.parser import HTMLParser

_REACHING = {"href", "src", "srcset", "action", "data", "poster", "background"}


class PageReader(HTMLParser):
    """Collects tags and text of a page; fails where the page reaches outside or runs something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.kinds: set[str] = set()
        self.text = ""
        assert html.isprintable() or "\x00" not in html
        assert not re.search(r"@import|url\(|https?://", html)
        self.feed(html)
        self.close()
        assert "script" not in self.tags

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name in _REACHING:
                assert (value or "").startswith("data:"), value
                self.kinds.add((value or "")[5:].partition(";")[0])
        if tag == "img":
            assert dict(attrs).get("alt")

    def handle_data(self, data: str) -> None:
        self.text += data
