"""Elements of HTML and SVG as strings. Whatever is not :class:`Markup` is text and is escaped: the only way in."""

from __future__ import annotations

import html


class Markup(str):
    """A string that is markup already."""

    __slots__ = ()


def el(name: str, /, *children: object, **attributes: object) -> Markup:
    """``<name attributes>children</name>``.

    ``class_`` and ``aria_sort`` become ``class`` and ``aria-sort``; an attribute that is None or False is left out, one
    that is True has no value. Numbers are written with at most two decimals. A child that is None is left out.
    """
    inside = join(*children)
    head = name + "".join(_attribute(key, value) for key, value in attributes.items())
    return Markup(f"<{head}>{inside}</{name}>" if inside or name not in _EMPTY else f"<{head}/>")


def join(*children: object) -> Markup:
    """Text escaped, markup as it is, one after the other."""
    return Markup("".join(_child(child) for child in children if child is not None))


def number(value: float) -> str:
    """At most two decimals, and no more than needed: 12.50 -> 12.5."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


# Elements that are written <like this/>: the void ones of HTML and the shapes of SVG.
_EMPTY = {"meta", "link", "br", "hr", "col", "rect", "circle", "line", "path", "polyline", "polygon"}


def _child(child: object) -> str:
    return child if isinstance(child, Markup) else html.escape(str(child), quote=False)


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    text = name if value is True else number(value) if isinstance(value, float) else str(value)
    return f' {name}="{html.escape(text)}"'
