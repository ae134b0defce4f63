"""The curves of a truth report as one SVG file, on white paper."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from diving48_domains.truth import Share, TruthReport

WIDTH, HEIGHT = 560, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 92
INK, FAINT, RULE = "#23262b", "#6b7078", "#dfe2e6"
# measure -> (colour, dashes): told apart without colour too
CURVES = {
    "S1 missing": ("#1f6fb2", ""),
    "S1 background": ("#c8631b", "7 3"),
    "S2 missing": ("#5a8f2a", "2 3"),
    "T leak": ("#a8324e", "9 3 2 3"),
}
WORDS = {
    "S1 missing": "diver missing from S1, of the diver",
    "S1 background": "background in S1, of what S1 shows",
    "S2 missing": "diver missing from S2, of the diver",
    "T leak": "diver leaking into T, of the diver",
}


def truth_svg(report: TruthReport, title: str) -> str:
    """Shares in percent over t from 0 to 1, with the band of their intervals. What t has no part in is level."""
    thresholds = list(report.by_threshold)
    lines = {name: [row.get(name, report.fixed.get(name)) for row in report.by_threshold.values()] for name in CURVES}
    shares = {name: [one for one in line if one is not None] for name, line in lines.items()}
    top = _ceiling(max(one.high for line in shares.values() for one in line))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="11" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 20, title, INK, weight="600"),
    ]
    for step in range(5):
        value = top * step / 4
        parts.append(_rule(LEFT, _y(value, top), WIDTH - RIGHT, _y(value, top)))
        parts.append(_text(LEFT - 6, _y(value, top) + 4, f"{100 * value:g} %", FAINT, "end"))
    for step in range(11):
        parts.append(_text(_x(step / 10), HEIGHT - BOTTOM + 16, f"{step / 10:g}", FAINT, "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 32, "mask threshold t", FAINT, "middle"))
    for name, (colour, dashes) in CURVES.items():
        parts += _curve(thresholds, shares[name], top, colour, dashes, WORDS[name])
    for number, (name, (colour, dashes)) in enumerate(CURVES.items()):
        x, y = LEFT + 250 * (number % 2), HEIGHT - 34 + 18 * (number // 2)
        parts.append(_stroke(f"M{x} {y - 4}h26", colour, dashes))
        parts.append(_text(x + 32, y, WORDS[name], INK))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _curve(
    thresholds: Sequence[float], line: Sequence[Share], top: float, colour: str, dashes: str, words: str
) -> list[str]:
    places = [_x(t) for t in thresholds]
    upper = [f"{x:.1f} {_y(one.high, top):.1f}" for x, one in zip(places, line, strict=True)]
    lower = [f"{x:.1f} {_y(one.low, top):.1f}" for x, one in zip(places, line, strict=True)]
    middle = [f"{x:.1f} {_y(one.value, top):.1f}" for x, one in zip(places, line, strict=True)]
    told = [
        f'<circle cx="{x:.1f}" cy="{_y(one.value, top):.1f}" r="2.4" fill="{colour}"><title>'
        f"{escape(words)}: {one.value:.2%} ({one.low:.2%} to {one.high:.2%}) at t = {t:g}</title></circle>"
        for t, x, one in zip(thresholds, places, line, strict=True)
    ]
    band = f'<path d="M{" L".join([*upper, *reversed(lower)])}Z" fill="{colour}" fill-opacity="0.14"/>'
    return [band, _stroke("M" + " L".join(middle), colour, dashes), *told]


def _ceiling(value: float) -> float:
    """The lowest of 1, 2, 4, 6, 8, 10, 20, ... 100 % that is not below ``value``."""
    steps = [one * scale for scale in (0.001, 0.01, 0.1) for one in (1, 2, 4, 6, 8)]
    return next((step for step in steps if step >= value), 1.0)


def _x(t: float) -> float:
    return LEFT + (WIDTH - RIGHT - LEFT) * t


def _y(value: float, top: float) -> float:
    return TOP + (HEIGHT - BOTTOM - TOP) * (1 - min(value / top, 1))


def _text(x: float, y: float, text: str, fill: str, anchor: str = "start", weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )


def _rule(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="{RULE}"/>'


def _stroke(path: str, colour: str, dashes: str) -> str:
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dashes or "none"}"/>'
