"""HTML elements built so that no string can leave its place: all text is escaped on writing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

Child = str | ElementTree.Element | None

# controls, surrogates, non-characters, and the marks that reorder the text around them
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def clean(text: str) -> str:
    """`text` with each character that a page cannot carry, or that reorders it, replaced."""
    return UNSAFE.sub("�", text)


def node(
    tag: str, attributes: Mapping[str, object] | None = None, *children: Child
) -> ElementTree.Element:
    """An element; attributes that are None are left out, strings among the children are text."""
    element = ElementTree.Element(tag)
    for name, value in (attributes or {}).items():
        if value is not None:
            element.set(name, clean(str(value)))
    last = None
    for child in children:
        if child is None:
            continue
        if not isinstance(child, str):
            element.append(child)
            last = child
        elif last is None:
            element.text = (element.text or "") + clean(child)
        else:
            last.tail = (last.tail or "") + clean(child)
    return element


def html(element: ElementTree.Element) -> str:
    """Written as HTML."""
    return ElementTree.tostring(element, encoding="unicode", method="html")
