"""Writing a submission: from finished run directories, and what every writer needs. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.config import RunConfig
from benchmark.models import is_outside
from benchmark.predictions import Predictions, predictions_path
from benchmark.results import RunDirectory
from benchmark.scoring import SELECTION, Entry
from benchmark.submission.answers import AnswerKey, write_answers
from benchmark.submission.check import check
from benchmark.submission.layout import RECORD_NAME
from benchmark.submission.record import FAMILIES, MAX_NAME_CHARS, EvaluatedOn, Model, Submission
from benchmark.submission.truth import AnswerKeys
from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.common.files import atomic_folder, write_json_atomic

FAMILY_OF = {
    "3dcnn": "convolution",
    "convlstm": "recurrence",
    "timesf-8": "attention",
    "timesf-1": "attention",
    "3dcnn-4l": "convolution",
    "3dcnn-6l": "convolution",
    "3dcnn-11l": "convolution",
    "convlstm-4l": "recurrence",
    "convlstm-4l-small": "recurrence",
    "timesf-4l": "attention",
    "timesf-11l": "attention",
    "timesf-3l": "attention",
    "timesf-12l": "attention",
    "timesf-12l-dropout": "attention",
    "timesf-12l-linear": "attention",
}
PRETRAINING_OF = {"torchvision": False, "timm": False, "hf": True}
"""Kind of outside model -> whether it comes with weights. Nobody but its author knows that of your own code."""


@dataclass(frozen=True)
class Words:
    """What the submitter says; None: what is known without."""

    title: str | None = None
    authors: tuple[str, ...] = ()
    protocol: str | None = None
    selection: str | None = None
    family: str | None = None
    pretraining: bool | None = None


def check_out(out: Path) -> None:
    """UsageError when ``out`` exists, or cannot be made."""
    if out.exists():
        raise UsageError(f"--out {out} exists; give another name.")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the directory {out.parent} does not exist; create it first.")


def submit_runs(paths: Sequence[Path], out: Path, words: Words) -> Submission:
    """Finished run directories that differ in their seeds alone (like jobs of a sweep) to one submission."""
    check_out(out)
    runs = [RunDirectory(path) for path in paths]
    configs = [run.read_config() for run in runs]
    for run, config in zip(runs, configs, strict=True):
        differing = replace(configs[0], seeds=config.seeds).differences(config)
        if differing:
            raise UsageError(f"--run {run.path} is not a seed of {paths[0]}'s experiment ({'; '.join(differing)}).")
        if not run.result_path.exists():
            raise DataError(f"{run.path} is not finished: it has no result.json; continue it with --resume.")
    config = replace(configs[0], seeds=tuple(seed for each in configs for seed in each.seeds))
    predictions: dict[tuple[int, str], Predictions] = {}
    facts: dict[str, EvaluatedOn] = {}
    parameters = 0
    for run, its in zip(runs, configs, strict=True):
        result = run.read_result()
        try:
            recorded = {each["domain"]: evaluated_on(each) for each in result["data"] if each["split"] != "train"}
            parameters = int(result["parameters"])
        except (KeyError, TypeError, ValueError) as problem:
            raise DataError(f"{run.result_path} is damaged ({problem!r}).") from None
        if facts and recorded != facts:
            raise DataError(f"{run.path} was evaluated on other clips than {paths[0]}; evaluate all on the same.")
        facts = recorded
        predictions |= run.read_predictions(its)
    selections = sorted({run.entry().selection for run in runs})
    if len(selections) > 1:
        raise UsageError(f"the checkpoints of --run were not chosen alike ({'; '.join(selections)}); give one kind.")
    protocol = words.protocol or f"rac-bench run: {protocol_of(config)}"
    said = replace(words, protocol=protocol, selection=words.selection or selections[0])
    submission = describe(config, parameters, facts, said)
    write_submission(out, submission, predictions.values())
    return submission


def protocol_of(config: RunConfig) -> str:
    """How ``rac-bench run`` trained, in words."""
    return (
        f"preset {config.preset}, {config.n_train} clips of {config.source} (data seed {config.data_seed}), at most "
        f"{config.max_epochs} epochs, patience {config.patience}, batch {config.batch_size}, "
        f"{config.update_rule}, {config.precision}"
    )


def describe(config: RunConfig, parameters: int, domains: dict[str, EvaluatedOn], words: Words) -> Submission:
    """The record of a model of ours, or known to us by a name; UsageError when only the submitter can know a fact."""
    family = words.family or FAMILY_OF.get(config.model, "other")
    if family not in FAMILIES:
        raise unknown_name("family", family, FAMILIES)
    pretraining = words.pretraining
    if pretraining is None:
        kind = config.model.partition(":")[0]
        if is_outside(config.model) and kind not in PRETRAINING_OF:
            raise UsageError(
                f"{config.model}: say with --pretraining or --no-pretraining if its weights saw other data."
            )
        pretraining = PRETRAINING_OF.get(kind, False)
    if words.protocol is None:
        raise UsageError("say with --protocol how the model was trained, in a sentence.")
    return Submission(
        title=(words.title or Entry.of_run(config).title)[:MAX_NAME_CHARS],
        model=Model(config.model[:MAX_NAME_CHARS], family, parameters, pretraining),
        protocol=words.protocol,
        selection=words.selection or SELECTION,
        source=config.source,
        targets=config.targets,
        seeds=config.seeds,
        domains={name: domains[name] for name in (config.source, *config.targets) if name in domains},
        authors=words.authors,
    )


def evaluated_on(facts: Mapping[str, Any]) -> EvaluatedOn:
    """From the JSON form of :class:`benchmark.data.DataFacts`; DataError when another tsgen made the clips.

    Videos have no profile, and no recipe to make them from: their truth is an answer key.
    """
    if not facts["profile"]:
        return EvaluatedOn(facts["split"], facts["n"], facts["content_hash"])
    from tsgen.domains import get_domain
    from tsgen.recipe import Recipe

    domain = get_domain(facts["domain"], facts["profile"])
    recipe = Recipe(domain, facts["n"], facts["seed"], facts["split"], facts["digits_source"], facts["digits_sha256"])
    if recipe.digest != facts["recipe_digest"]:
        raise DataError(f"the clips of {domain.name} were made by another version of tsgen; evaluate on new ones.")
    return EvaluatedOn(facts["split"], facts["n"], facts["content_hash"], recipe.to_json())


def write_submission(out: Path, submission: Submission, predictions: Iterable[Predictions]) -> None:
    """All or nothing: what was written is checked before it gets its name. DataError when it is not admissible."""
    keys: dict[str, AnswerKey] = {}
    with atomic_folder(out) as partial:
        for each in predictions:
            path = predictions_path(partial, each.seed, each.domain)
            write_answers(path, each.seed, each.domain, each.clip_id, each.logits, each.top5)
            keys.setdefault(each.content_hash, key_of(each))
        write_json_atomic(partial / RECORD_NAME, submission.to_json())
        check(partial, AnswerKeys(keys=list(keys.values()), allow_custom=True)).entry()


def key_of(predictions: Predictions) -> AnswerKey:
    """The truth they were compared with."""
    clip_id: NDArray[np.int64] = predictions.clip_id
    return AnswerKey(
        domain=predictions.domain,
        split=predictions.split,
        class_names=predictions.class_names,
        content_hash=predictions.content_hash,
        clip_id=clip_id,
        label=predictions.label,
        digits_source=predictions.digits_source,
        digits_sha256=predictions.digits_sha256,
    )
