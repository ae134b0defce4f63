"""The blocks of the data cards that rest on committed records and on the code's tables, made from these.

``python tests/tsgen/card_records.py`` writes them into the cards; test_cards.py says whether that is needed.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

from diving48_domains.domains import DOMAINS
from diving48_domains.manifest import FLAGS
from diving48_domains.mini.config import CLASS_SETS, PUBLISHED_LABELS, SPLITS, MiniConfig
from diving48_domains.mini.dataset import JOINTS_FILE, RECIPE_FILE, TRUTH_FILE
from diving48_domains.mini.venue import NUM_VENUES
from diving48_domains.vocabulary import DIVE_CLASSES, EMPTY_IN_V2
from tsgen.common.cards import fill_blocks
from tsgen.release.card import render_card

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "data_cards"
RESULTS = ROOT / "docs" / "results"
RELEASE = RESULTS / "release" / "release.json"
WIDTH = 120
SHOWN_SIGHTS = ("first frame", "random frame", "set of places", "shuffled", "to reversed", "intact")


def percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def leaks() -> str:
    """From the committed output of ``tsgen audit --json``."""
    profiles = ("paper", "strict", "order")
    reach = {name: json.loads((RESULTS / "audit" / f"2dot-{name}.json").read_text())["files"][0] for name in profiles}
    rows = {name: {row["name"]: row for row in file["reach"]["rows"]} for name, file in reach.items()}
    lines = [f"| seen | {' | '.join(f'`{name}`, %' for name in profiles)} |", "|---|---:|---:|---:|"]
    for sight in SHOWN_SIGHTS:
        cells = [percent(*(rows[name][sight][key] for key in ("accuracy", "low", "high"))) for name in profiles]
        lines.append(f"| {sight}: {rows['paper'][sight]['says']} | {' | '.join(cells)} |")
    facts = reach["paper"]["reach"]
    chances = ", ".join(f"{100 * reach[name]['reach']['chance']:.0f} % in `{name}`" for name in profiles)
    lines += ["", f"Fitted on {facts['fitted']} clips, measured on {facts['held_out']}; chance is {chances}."]
    return "\n".join(lines)


def domains() -> str:
    lines = ["| domain | what a frame shows | from |", "|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {each.title} | {each.section} |" for name, each in DOMAINS.items()])


def flags() -> str:
    return "\n".join(["| flag | meaning |", "|---|---|", *(f"| `{name}` | {says} |" for name, says in FLAGS.items())])


def truth() -> str:
    """From the committed output of ``d48dom truth --json``: a segmenter's masks, and true ones as the floor."""
    found, floor = (json.loads((RESULTS / "d48" / name).read_text()) for name in ("truth.json", "truth-floor.json"))
    at = [next(row for row in report["by_threshold"] if row["t"] == 0.4) for report in (found, floor)]
    lines = ["| at t = 0.4, % | small segmenter | true masks |", "|---|---:|---:|"]
    for name in ("S1 missing", "S1 background"):
        lines.append(f"| {name} | {percent(*at[0][name])} | {percent(*at[1][name])} |")
    for name in ("S2 missing", "S2 background", "T leak", "T background lost", "T_union leak"):
        lines.append(f"| {name} | {percent(*found['fixed'][name])} | {percent(*floor['fixed'][name])} |")
    return "\n".join([*lines, "", f"{found['clips']} clips, {found['frames']} frames; {found['interval']}."])


def classes() -> str:
    return (
        f"{len(DIVE_CLASSES)} classes, each a takeoff, a number of somersaults, a number of twists and a position; "
        f"class {EMPTY_IN_V2} has no clip in the V2 lists, which leaves {len(DIVE_CLASSES) - 1}."
    )


def segmenter() -> str:
    found = json.loads((RESULTS / "d48" / "evaluate.json").read_text())
    return textwrap.fill(
        f"A small Mask R-CNN trained on {PUBLISHED_LABELS[0]} such frames and tested on {found['frames']} with "
        f"{found['divers']} divers: mask IoU of found divers {found['matched_mask_iou']:.2f}, share of frames with a "
        f"diver found {found['frame_recall']:.2f}, false keeps a frame {found['false_keeps_per_frame']:.2f}, mask AP "
        f"{found['mask_ap']:.2f}.",
        WIDTH,
    )


def labels() -> str:
    config = MiniConfig()
    return (
        f"{config.labels_train} frames to train on and {config.labels_val} to validate on, "
        f"{config.width}x{config.height} px, by default; both numbers, the size and the seed are options."
    )


def recipe() -> str:
    config = MiniConfig()
    counts = ", ".join(f"{split} {config.count(split)}" for split in SPLITS)
    sets = ", ".join(f"`{name}` {len(ids)}" for name, ids in CLASS_SETS.items())
    return textwrap.fill(
        f"By default: classes `{config.classes}`, clips {counts}, {config.width}x{config.height} px, rho {config.rho}, "
        f"seed {config.seed}. Class sets and their sizes: {sets}. {NUM_VENUES} venues; those in use are as many as "
        f"there are classes (or values of the attribute), at most all. Truth: `{TRUTH_FILE}`, `{JOINTS_FILE}`; "
        f"the recipe: `{RECIPE_FILE}`.",
        WIDTH,
        break_on_hyphens=False,
    )


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "temporal_shape": {"leaks": leaks},
    "diving48_domains": {"classes": classes, "domains": domains, "flags": flags, "truth": truth},
    "diver_frames": {"labels": labels, "segmenter": segmenter},
    "mini_diving48": {"recipe": recipe},
}
"""Card -> its blocks that this module makes; those of a release are made by tsgen/release/card.py."""


def filled(name: str) -> str:
    """The card as it ought to be."""
    text = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    if name == "temporal_shape":
        text = render_card(json.loads(RELEASE.read_text(encoding="utf-8")))
    return fill_blocks(text, {block: make() for block, make in BLOCKS[name].items()})


if __name__ == "__main__":
    for card in BLOCKS:
        (CARDS / f"{card}.md").write_text(filled(card), encoding="utf-8")
