"""What every script here shares: interleaved timing, the facts of the machine, results written as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def interleaved(contenders: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Items per second of each contender, one figure a round; all take turns, so that a busy machine hits all alike.

    A contender does its work and returns how many items that were. One unmeasured round warms caches and compilers.
    """
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(rounds + 1):
        for name, work in contenders.items():
            begun = time.perf_counter()
            items = work()
            rate = items / (time.perf_counter() - begun)
            if round_number:
                rates[name].append(rate)
            print(f"  round {round_number} {name}: {rate:,.0f} /s", file=sys.stderr)
    return rates


def ratios(rates: dict[str, list[float]], subject: str) -> dict[str, dict[str, float]]:
    """Of each contender: median rate, and the median over rounds of subject rate / its rate."""
    return {
        name: {
            "per_second": statistics.median(values),
            "subject_is_faster_by": statistics.median(s / v for s, v in zip(rates[subject], values, strict=True)),
        }
        for name, values in rates.items()
    }


def machine(*packages: str) -> dict[str, Any]:
    cpu = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        cpu = next((line.partition(":")[2].strip() for line in cpuinfo.open() if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def render(result: dict[str, Any]) -> str:
    """The Markdown table of a results file; docs/performance.md holds what this returns, and a test compares them."""
    lines = []
    for domain, rows in result["domains"].items():
        lines += [f"| {domain}, n = {result['n'][domain]:,} | clips/s | the command is faster by |", "|---|---:|---:|"]
        for name, row in rows.items():
            lines.append(f"| {name} | {row['per_second']:,.0f} | {row['subject_is_faster_by']:.2f}x |")
        lines.append("")
    facts = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    lines.append(f"`{result['command']}`; median of {result['rounds']} interleaved rounds; {facts}.")
    return "\n".join(lines)


def render_training(result: dict[str, Any]) -> str:
    """As :func:`render`, of a results file of ``perf/train.py``."""
    lines = [
        "| model | h | clips a step | plain, ms | engine, ms | the engine is faster by | GFLOP a step |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['model']} | {row['hidden']} | {row['batch']} | {row['plain_ms']:.0f} | {row['engine_ms']:.0f} "
        f"| {row['engine_is_faster_by']:.2f}x | {row['gflop_per_step']:.1f} |"
        for row in result["rows"]
    ]
    if "packed_ms_per_model" in result["rows"][0]:
        lines += [
            "",
            "| model | h | ten at a time, ms a model | steps/s | clips/s | of the fp32 peak | hours of its 10 runs |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {row['model']} | {row['hidden']} | {row['packed_ms_per_model']:.2f} | {row['steps_per_second']:.0f} "
            f"| {row['clips_per_second']:,.0f} | {row['share_of_fp32_peak']:.1%} | {row['hours_of_its_runs']:.3f} |"
            for row in result["rows"]
        ]
        lines += ["", f"All of these runs at their full epochs: {result['hours_of_all_runs_measured_here']:.2f} hours."]
    facts = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    return "\n".join([*lines, "", f"`{result['command']}`; median of {result['rounds']} interleaved rounds; {facts}."])


def write(name: str, result: dict[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def render_domains(result: dict[str, Any]) -> str:
    """As :func:`render`, of a results file of ``perf/d48dom.py``."""
    lines = []
    for section, rows in result["sections"].items():
        title, unit = result["titles"][section]
        lines += [f"| {title} | {unit} | the first is faster by |", "|---|---:|---:|"]
        lines += [
            f"| {name} | {row['per_second']:.1f} | {row['subject_is_faster_by']:.2f}x |" for name, row in rows.items()
        ]
        lines.append("")
    lines += ["| `d48dom build` of clips of 640x480, one process | peak memory, MiB |", "|---|---:|"]
    lines += [f"| {name} | {peak:.0f} |" for name, peak in result["memory_mib"].items()]
    facts = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    lines += ["", f"`{result['command']}`; median of {result['rounds']} interleaved rounds; {facts}."]
    return "\n".join(lines)
