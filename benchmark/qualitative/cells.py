"""The cells of both tables as texts, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.attributes import Count
from benchmark.qualitative.answers import DOMAINS, Answered, ModelAnswers
from benchmark.qualitative.tables import NO_ATTRIBUTES, SHAPE, Accuracy, ClassTables, Proportion, Wrong

READ_SET = (
    "Set: the wrong classes given on S1 and S2, each once. Correct attr.: how many of the four attributes of each are "
    "those of the class, as in the paper. Chance: the share that wrong classes drawn at random have right. p: as many "
    "or more right in a set of that size drawn at random (exact, one-sided, not corrected for the number of models and "
    "classes). Every error: each wrong answer counted, however often it was given."
)


def accuracy_cells(tables: ClassTables) -> tuple[list[str], list[tuple[str, str, list[tuple[str, str]]]]]:
    """Heads, and for each line: model, which clips, and (value, interval) of each column. The last line is chance."""
    top5 = tables.chance_top5 is not None
    heads = [f"{domain} {top}" for domain in DOMAINS for top in (("top-1", "top-5") if top5 else ("top-1",))]
    lines = []
    n, of_class = len(tables.clip_ids), tables.clips_of_class
    for row in tables.rows:
        for which, of in ((f"{n} drawn", row.drawn), (f"all {of_class}", row.all_clips)):
            pairs = [_proportion(one) for domain in DOMAINS for one in _parts(of[domain])]
            lines.append((row.title, which, pairs))
    chance = [tables.chance] if tables.chance_top5 is None else [tables.chance, tables.chance_top5]
    lines.append(("chance", "", [(f"{share:.3f}", "") for _ in DOMAINS for share in chance]))
    return heads, lines


def set_cells(tables: ClassTables) -> list[list[str]]:
    """Table 7 of the drawn clips, its heads first."""
    attributes = tables.dives is not None
    heads = ["model", *SHAPE, "misclassifications (set)", *(("correct attr.", "chance", "p") if attributes else ())]
    lines = [heads]
    for row in tables.rows:
        answers = [f"[{', '.join(map(str, row.answers(domain)))}]" for domain in SHAPE]
        wrong = row.wrong
        extra = [*count_cells(wrong.attributes), p_text(wrong.p)] if attributes else []
        lines.append([row.title, *answers, set_text(wrong), *extra])
    return lines


def all_clips_cells(tables: ClassTables) -> list[list[str]]:
    """The same over all clips of the class: how many answers were wrong, and the attributes of set and errors."""
    attributes = tables.dives is not None
    more = ("correct attr. of the set", "chance", "p", "of every error") if attributes else ()
    lines = [["model", "wrong answers", "classes in the set", *more]]
    for row in tables.rows:
        wrong = row.all_wrong
        every = count_cells(wrong.every)[0]
        extra = [*count_cells(wrong.attributes), p_text(wrong.p), every] if attributes else []
        lines.append([row.title, f"{wrong.errors} of {wrong.answers}", str(len(wrong.classes)), *extra])
    return lines


def read_accuracy(tables: ClassTables) -> str:
    """How to read :func:`accuracy_cells`."""
    top5 = "" if tables.chance_top5 is None else "Top-5: the class is among the best five answers. "
    return (
        f"{top5}Brackets: exact 95% intervals of a proportion (Clopper and Pearson); of so few clips they are wide. "
        "Chance: answers drawn from all classes alike."
    )


def notes(tables: ClassTables) -> list[str]:
    """What is to be said of a class beside its tables."""
    return [text for text in (tables.fewer, NO_ATTRIBUTES if tables.dives is None else None) if text]


def model_line(model: ModelAnswers) -> str:
    """Where the answers of a model come from, and how good it is on the source."""
    h = f"h = {model.hidden}, " if model.hidden else ""
    others = f" (also in this folder: {', '.join(map(str, model.others))})" if model.others else ""
    V = f"V = {model.source_hits / model.source_clips:.3f} ({model.source_hits} of {model.source_clips})"
    where = f"{model.family}, {h}in {model.origin}, seed {model.seed}{others}"
    return f"{model.title}: {where}; {V}; checkpoint: {model.selection}."


def models_of(answered: Answered) -> list[str]:
    """A line for each, and for those that are not there."""
    return [*(model_line(model) for model in answered.models), *answered.left_out]


def set_text(wrong: Wrong) -> str:
    return ", ".join(map(str, wrong.classes)) or "none"


def count_cells(count: Count | None) -> list[str]:
    """``["10/16 = 0.62", "0.33"]``."""
    return (
        ["-", "-"] if count is None else [f"{count.correct}/{count.total} = {count.share:.2f}", f"{count.chance:.2f}"]
    )


def p_text(p: float | None) -> str:
    return "-" if p is None else f"{p:.2g}" if p >= 1e-4 else "<1e-4"


def _parts(accuracy: Accuracy) -> Sequence[Proportion]:
    return (accuracy.top1,) if accuracy.top5 is None else (accuracy.top1, accuracy.top5)


def _proportion(one: Proportion) -> tuple[str, str]:
    low, high = one.interval
    return f"{one.value:.2f}", f"[{low:.2f}, {high:.2f}]"
