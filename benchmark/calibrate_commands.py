"""``rac-bench calibrate``. Imports what it needs when it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from benchmark.calibration_config import BEDS, FOUND, RHOS, CalibrationConfig
from benchmark.config import parse_seeds
from benchmark.models import require_torch
from tsgen.common.errors import UsageError

SHRINK = CalibrationConfig().shrink


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.command("calibrate")
@click.option("--rhos", default=",".join(f"{rho:g}" for rho in RHOS), show_default=True, help="Strengths of the bias.")
@click.option(
    "--data",
    "recipe",
    default=CalibrationConfig().recipe,
    show_default=True,
    help="Recipe without rho; or one of " + ", ".join(BEDS) + " alone, for its own.",
)
@click.option("--shrink", type=int, default=SHRINK, show_default=True, help="With mini: divides the hidden units.")
@click.option("--seeds", help="Training seeds. [mini: 1; shapes: 1,2]")
@click.option("--epochs", "max_epochs", type=int, help="Of each training. [12]")
@click.option("--batch-size", type=int, help="Clips a step. [mini: 8; shapes: 16]")
@click.option("--learning-rate", type=float, help="Of SGD. [mini: 0.01; shapes: 0.003]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", type=int, help="CPU threads. [all cores]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/calibration"), show_default=True)
@click.option("--resume", is_flag=True, help="Continue the calibration in --out; start it if there is none.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the table.")
def calibrate(
    rhos: str,
    recipe: str,
    shrink: int,
    seeds: str | None,
    device: str,
    threads: int | None,
    out: Path,
    resume: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Set the measures of texture bias against a bias that is known: clips with a texture that follows the class.

    For each rho the families of experiment a are trained alike; T/S1 and T/V, with true and with predicted masks, are
    compared with the accuracy that is left where the textures are swapped. Hours on a CPU; --resume continues.
    """
    config = CalibrationConfig(_parse_rhos(rhos), BEDS[recipe].recipe if recipe in BEDS else recipe, shrink)
    given = {name: value for name, value in overrides.items() if value is not None}
    if seeds is not None:
        given["seeds"] = parse_seeds(seeds)
    chosen = config.bed.overrides(given)
    require_torch()
    from benchmark.calibration import calibrate as do_calibrate
    from benchmark.calibration import record, trends_of
    from benchmark.calibration_table import figure_of, render_calibration

    try:
        rows = do_calibrate(config, out, overrides=chosen, device=device, threads=threads, resume=resume, say=_say)
    except KeyboardInterrupt:
        _say("\nstopped; the same command with --resume continues after the last finished epoch.")
        raise
    found = record(config, chosen, rows, out)
    from benchmark.report.export import write_figures

    written = write_figures([figure_of(rows)], out, png=False, force=True)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    click.echo(render_calibration(rows, trends_of(rows)))
    click.echo(f"\nWritten to {out}: {FOUND}, {written[0].name}, and a run directory for each family and rho.")


def _parse_rhos(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--rhos {text!r} are not numbers separated by commas, like 0,0.5,1.") from None
