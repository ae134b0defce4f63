"""A whole page: self-contained, light and dark, with nothing loaded and no script but its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import tsgen
from benchmark.report.drawing import inline, legend_key
from benchmark.report.figures import Figure
from benchmark.report.markup import Markup, el
from benchmark.report.style import DARK, LIGHT, SERIES_DARK, SERIES_LIGHT, palette
from benchmark.report.tables import json_text

PAGE_LIGHT = {"link": "#0b5c8a", "hover": "#f2f5f7", "warn": "#a33a00"}
PAGE_DARK = {"link": "#7cc0ea", "hover": "#1e2328", "warn": "#f0a070"}


def page(
    title: str, lead: object, sections: Sequence[Markup], *, navigation: Markup | None = None, pictures: bool = False
) -> str:
    """The text of an HTML file. A policy in its head forbids everything that is not in the file itself.

    ``pictures``: PNG files that are part of the page are allowed too.
    """
    css, script = _asset("page.css"), _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    images = "img-src data:; " if pictures else ""
    policy = f"default-src 'none'; {images}style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=f"{policy}form-action 'none'"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="generator", content=f"rac-bench {tsgen.__version__}"),
        el("title", title),
        el("style", Markup(f"{_variables()}\n{css}")),
    )
    body = el(
        "body",
        el("a", "To the numbers", href="#content", class_="skip"),
        el("header", el("h1", title), lead, navigation, class_="top"),
        el("main", *sections, id="content"),
        el("footer", el("p", f"Made by rac-bench {tsgen.__version__}. This page is one file and loads nothing.")),
        el("script", Markup(script)),
    )
    return f"<!DOCTYPE html>\n{el('html', head, body, lang='en')}\n"


def figure(chosen: Figure) -> Markup:
    """Its drawings side by side where there is room, the legend above."""
    wide = "panels wide" if chosen.drawings[0].width > 400 else "panels"
    drawings = [inline(each, f"{chosen.name}-{number}") for number, each in enumerate(chosen.drawings)]
    keys = [el("li", inline(legend_key(style), ""), name) for style, name in chosen.legend]
    legend = el("ul", *keys, class_="legend") if keys else None
    return el("figure", legend, el("div", *drawings, class_=wide), el("figcaption", chosen.caption), id=chosen.name)


def embedded_json(value: Any) -> Markup:
    """JSON as an element of the page, id "records"; nothing in it can end the element. DataError for NaN."""
    text = json_text(value)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return el("script", Markup(text), type="application/json", id="records")


def navigation(links: Sequence[tuple[str, str]]) -> Markup:
    """(address, text) of each."""
    items = [el("li", el("a", text, href=address)) for address, text in links]
    return el("nav", el("ul", *items), aria_label="Contents")


def how_to_read(*more: Markup) -> Markup:
    points = [
        "Accuracy is the mean over seeds and clips; V is that on the source validation clips, of the checkpoint that "
        "each record names (of rac-bench's own runs: the first epoch in which V was highest; targets take no part).",
        "rr = target accuracy / V, the ratio of the means. 1: nothing is lost. rr* is the same after subtracting "
        "chance from both: 0 is guessing.",
        "Brackets are 95% intervals: with many seeds and other clips of the same kind, 95 of 100 such intervals hold "
        "the true value. With one seed they carry the variance of the clips alone; two or three seeds hardly show "
        "how much they differ, so take theirs as 90% intervals.",
        "Not valid: V is not above guessing by its whole interval. Its rr means nothing and is neither drawn nor "
        "ranked.",
    ]
    items = [*(el("li", point) for point in points), *(el("li", each) for each in more)]
    return el("section", el("h2", "How to read this"), el("ul", *items), id="how-to-read")


def _variables() -> str:
    light = _declared(palette(LIGHT, SERIES_LIGHT) | PAGE_LIGHT)
    dark = _declared(palette(DARK, SERIES_DARK) | PAGE_DARK)
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"


def _declared(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


@cache
def _asset(name: str) -> str:
    return resources.files("benchmark.report").joinpath("assets", name).read_text(encoding="utf-8")
