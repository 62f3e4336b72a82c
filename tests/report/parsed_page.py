"""A report read back: its element tree, its blocks, its data, its visible text."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser


class ParsedPage(HTMLParser):
    """Start and end tags in order, with attribute names; and the text of scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.blocks, self.packed, self.policy, self.links, self._open = [], [], {}, None, [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        self.links += [values[name] for name in ("src", "href") if name in values]
        self._open = (tag, values.get("type"), values.get("id")) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.tags.append(("/" + tag, ()))
        self._open = None

    def handle_data(self, data):
        if self._open:
            tag, kind, name = self._open
            if kind == "application/gzip":
                self.packed[name] = data
            else:
                self.blocks.append((tag, kind, data))

    def unpacked(self, name):
        return gzip.decompress(base64.b64decode(self.packed[name], validate=True)).decode()

    @property
    def data(self):
        return json.loads(self.unpacked("rgprobe-data"))


def prose(text):
    """Visible text of a page, without tags, scripts and data."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))
