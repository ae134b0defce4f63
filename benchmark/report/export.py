"""Figures as files for papers: SVG always, PNG where a program that draws SVG is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.report.drawing import standalone
from benchmark.report.figures import Figure
from tsgen.common.errors import UsageError
from tsgen.common.files import write_text_atomic

PNG_SCALE = 3  # 288 dots an inch
PNG_TIMEOUT_S = 60


def write_figures(figures: Sequence[Figure], folder: Path, *, png: bool, force: bool) -> list[Path]:
    """``<name>.svg`` of each, with ``png`` also ``<name>.png``; what was written. Files that exist need ``force``."""
    converter = find_converter() if png else None
    suffixes = (".svg", ".png") if png else (".svg",)
    paths = [folder / f"{figure.name}{suffix}" for figure in figures for suffix in suffixes]
    taken = [path.name for path in paths if path.exists()]
    if taken and not force:
        raise UsageError(f"--figures {folder} holds {', '.join(taken)} already; add --force to replace them.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in figures:
            svg = folder / f"{figure.name}.svg"
            write_text_atomic(svg, standalone(figure.title, figure.drawings, figure.legend, figure.columns))
            if converter:
                _convert(converter, svg, svg.with_suffix(".png"))
    except OSError as problem:
        raise UsageError(f"--figures {folder} cannot be written: {problem}.") from problem
    return paths


def find_converter() -> tuple[str, Callable[[str, Path, Path, Path], list[str]]]:
    """The first program of ``CONVERTERS`` that is installed, and how it is called."""
    for name, arguments in CONVERTERS.items():
        program = shutil.which(name)
        if program:
            return program, arguments
    raise UsageError(
        f"--png needs a program that draws SVG, and none of {', '.join(CONVERTERS)} is installed; "
        "install one, or leave --png out and use the SVG files."
    )


def _rsvg(program: str, svg: Path, png: Path, scratch: Path) -> list[str]:
    return [program, "--zoom", str(PNG_SCALE), "--output", str(png), str(svg)]


def _browser(program: str, svg: Path, png: Path, scratch: Path) -> list[str]:
    width, height = svg_size(svg)
    options = "--headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-background-networking"
    return [
        program,
        *options.split(),
        f"--user-data-dir={scratch}",
        f"--force-device-scale-factor={PNG_SCALE}",
        f"--window-size={width},{height}",
        f"--screenshot={png}",
        svg.as_uri(),
    ]


CONVERTERS: dict[str, Callable[[str, Path, Path, Path], list[str]]] = {
    "rsvg-convert": _rsvg,
    "chromium": _browser,
    "chromium-browser": _browser,
    "google-chrome": _browser,
}
"""Program -> its arguments for (program, svg, png, an empty folder)."""


def svg_size(svg: Path) -> tuple[int, int]:
    """Width and height in px of one of our files."""
    found = re.search(r'viewBox="0 0 (\d+) (\d+)"', svg.read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]), int(found[2])


def _convert(converter: tuple[str, Callable[[str, Path, Path, Path], list[str]]], svg: Path, png: Path) -> None:
    program, arguments = converter
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        partial = Path(scratch) / "figure.png"
        command = arguments(program, svg.resolve(), partial, Path(scratch))
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PNG_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise UsageError(f"{program} took more than {PNG_TIMEOUT_S} s for {svg.name}; use the SVG file.") from None
        if done.returncode or not partial.is_file():
            words = done.stderr.strip().splitlines()
            raise UsageError(f"{program} made no PNG of {svg.name}: {words[-1] if words else done.returncode}.")
        shutil.copyfile(partial, png)
