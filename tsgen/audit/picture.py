"""The audit as a picture: bars with intervals against chance, and where the clips of each class start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tsgen.audit.reach import Reach
from tsgen.audit.report import Audit, FileAudit

PAPER, INK, FAINT, RULE = (255, 255, 255), (35, 38, 43), (120, 126, 135), (222, 225, 230)
COLOURS = {
    "static": (214, 94, 58),
    "order-free": (226, 160, 40),
    "control": (150, 160, 175),
    "reference": (66, 120, 180),
}
MARGIN, GAP, ROW, BAR = 36, 30, 30, 16
NAME_WIDTH, BARS_WIDTH, VALUE_WIDTH, MAP = 150, 560, 190, 176
TITLE_HEIGHT, AXIS_HEIGHT, LEGEND_HEIGHT = 44, 34, 40
DARKEST = np.array([32, 74, 125])


def draw_audit(audit: Audit) -> Image.Image:
    """One panel a file, one below the other. RGB."""
    panels = [_panel(file) for file in audit.files]
    width = max(panel.width for panel in panels)
    sheet = Image.new("RGB", (width, sum(panel.height for panel in panels)), PAPER)
    y = 0
    for panel in panels:
        sheet.paste(panel, (0, y))
        y += panel.height
    return sheet


def _panel(file: FileAudit) -> Image.Image:
    rows = len(file.reach.rows) if isinstance(file.reach, Reach) else 1
    maps_high = TITLE_HEIGHT + MAP + 30
    bars_high = TITLE_HEIGHT + rows * ROW + AXIS_HEIGHT + LEGEND_HEIGHT
    classes = [(row.name, counts) for row, counts in zip(file.classes, file.start_map, strict=True) if row.clips]
    width = 2 * MARGIN + max(NAME_WIDTH + BARS_WIDTH + VALUE_WIDTH, len(classes) * (MAP + GAP) - GAP)
    panel = Image.new("RGB", (width, 2 * MARGIN + bars_high + maps_high), PAPER)
    pen = ImageDraw.Draw(panel)
    title = f"{file.file}: {file.clips} clips of {file.domain}, profile {file.profile}"
    pen.text((MARGIN, MARGIN), _shortened(title, width - 2 * MARGIN, _font(19)), fill=INK, font=_font(19), anchor="lt")
    if isinstance(file.reach, Reach):
        _bars(pen, file.reach, MARGIN + TITLE_HEIGHT)
    else:
        pen.text((MARGIN, MARGIN + TITLE_HEIGHT), f"classifiers: {file.reach}", fill=FAINT, font=_font(15))
    top = MARGIN + bars_high
    pen.text((MARGIN, top), "Where clips start (darker: more)", fill=INK, font=_font(16), anchor="lt")
    most = max((float(counts.max() / max(counts.sum(), 1)) for _, counts in classes), default=1.0)
    for place, (name, counts) in enumerate(classes):
        x, y = MARGIN + place * (MAP + GAP), top + TITLE_HEIGHT - 12
        panel.paste(_heat_map(counts / max(counts.sum(), 1) / most), (x, y))
        pen.rectangle((x - 1, y - 1, x + MAP, y + MAP), outline=RULE)
        pen.text((x, y + MAP + 6), _shortened(name, MAP, _font(15)), fill=INK, font=_font(15), anchor="la")
    return panel


def _bars(pen: ImageDraw.ImageDraw, reach: Reach, top: int) -> None:
    left, bottom = MARGIN + NAME_WIDTH, top + len(reach.rows) * ROW

    def x_of(share: float) -> int:
        return round(left + share * BARS_WIDTH)

    for percent in range(0, 101, 20):
        x = x_of(percent / 100)
        pen.line((x, top, x, bottom), fill=RULE)
        pen.text((x, bottom + 8), f"{percent} %", fill=FAINT, font=_font(14), anchor="mt")
    for place, row in enumerate(reach.rows):
        middle = top + place * ROW + ROW // 2
        pen.text((left - 12, middle), row.name, fill=INK, font=_font(15), anchor="rm")
        box = (left, middle - BAR // 2, max(x_of(row.accuracy), left + 1), middle + BAR // 2)
        pen.rectangle(box, fill=COLOURS[row.kind])
        low, high = x_of(row.low), x_of(row.high)
        pen.line((low, middle, high, middle), fill=INK, width=2)
        for end in (low, high):
            pen.line((end, middle - 4, end, middle + 4), fill=INK, width=2)
        words = f"{row.accuracy:.1%}" + (f"   {row.verdict}" if row.verdict in {"leak", "open"} else "")
        pen.text((left + BARS_WIDTH + 16, middle), words, fill=INK, font=_font(15), anchor="lm")
    x = x_of(max(reach.chance, reach.majority))
    for y in range(top, bottom, 8):
        pen.line((x, y, x, min(y + 4, bottom)), fill=INK, width=2)
    x = left
    y = bottom + AXIS_HEIGHT + 6
    for kind, colour in COLOURS.items():
        pen.rectangle((x, y, x + 14, y + 14), fill=colour)
        pen.text((x + 20, y + 7), kind, fill=INK, font=_font(14), anchor="lm")
        x += 44 + round(_font(14).getlength(kind))
    pen.line((x + 7, y - 1, x + 7, y + 15), fill=INK, width=2)
    pen.text((x + 20, y + 7), "chance or majority", fill=INK, font=_font(14), anchor="lm")


def _heat_map(shares: NDArray[np.float64]) -> Image.Image:
    """Shares of the darkest (G, G), 0..1 -> RGB, white to dark blue."""
    colours = 255 + shares[..., None] ** 0.7 * (DARKEST - 255)
    return Image.fromarray(colours.astype(np.uint8)).resize((MAP, MAP), Image.Resampling.NEAREST)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """The end of a text that is too long: of a path, the end tells more."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("…" + text) > width:
        text = text[1:]
    return "…" + text
