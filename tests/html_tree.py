"""A parser of well-formed HTML, for tests of pages."""

import dataclasses
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input"}


@dataclasses.dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    children: list["Node | str"] = dataclasses.field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, *tags: str) -> list["Node"]:
        """Nodes below this one with one of the tags (any without), in document order."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                found += [child] * (not tags or child.tag in tags) + child.all(*tags)
        return found


class Tree(HTMLParser):
    """Builds nodes, and takes no end tag for granted."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack = [Node("document", {})]
        self.feed(text)
        self.close()
        assert len(self.stack) == 1, f"not closed: {self.stack[-1].tag}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"twice the same attribute: {attrs}"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)
