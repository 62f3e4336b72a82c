"""A report read back: its element tree, its blocks, its data, its visible text."""

import json
import re
from html.parser import HTMLParser


class ParsedPage(HTMLParser):
    """Start and end tags in order, with attribute names; and the text of scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.blocks, self.policy, self.links, self._open = [], [], None, [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        self.links += [values[name] for name in ("src", "href") if name in values]
        self._open = (tag, values.get("type")) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.tags.append(("/" + tag, ()))
        self._open = None

    def handle_data(self, data):
        if self._open:
            self.blocks.append((*self._open, data))

    @property
    def data(self):
        (blob,) = (block for _, kind, block in self.blocks if kind == "application/json")
        return json.loads(blob)


def prose(text):
    """Visible text of a page, without tags, scripts and data."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))
