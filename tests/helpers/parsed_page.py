"""A report's page, parsed."""

import json
import os
from html.parser import HTMLParser

EMPTY_ELEMENTS = ("meta", "input", "img", "br", "link")


class Page(HTMLParser):
    """What is in a page: its elements with their attributes, texts by element, and that all is closed in order."""

    def __init__(self, model_dir):
        super().__init__()
        self.path = os.path.join(str(model_dir), "report", "index.html")
        with open(self.path, encoding="utf-8", newline="") as file:
            self.source = file.read()
        self.elements, self.texts, self._open = [], [], []
        self.feed(self.source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in EMPTY_ELEMENTS:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self._open[-1], data.strip()))

    def all(self, tag, **attributes):
        """The attributes of the elements of a tag that have these."""
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key.rstrip("_")) == value for key, value in attributes.items())
        ]

    def text(self, tag):
        """The texts directly in elements of a tag."""
        return [text for name, text in self.texts if name == tag]

    def shown(self):
        """All text that is not script or style."""
        return "\n".join(text for name, text in self.texts if name not in ("script", "style"))

    def volumes(self):
        """What the cases' scripts hold."""
        return [json.loads(text) for text in self.text("script") if text.startswith('{"shape"')]
