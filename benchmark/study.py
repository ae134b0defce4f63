"""An experiment of section 4.2: matched families trained on videos, compared at one source validation accuracy.

OUT/experiment.json                   what was asked for
OUT/<model>/                          one run directory a family (:mod:`benchmark.results`)
OUT/<model>/level-<level>/            the same run, evaluated at the checkpoint that first reached the level
OUT/result.json                       the table, with intervals and the paper's numbers beside them; written last
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.config import VIDEO_SOURCE, make_config
from benchmark.models import VIDEO_MODELS
from benchmark.results import read_json
from benchmark.study_record import ASKED, FOUND, Study, StudyConfig, StudyRow, asked_of, row_of
from tsgen.common.errors import UsageError
from tsgen.common.files import write_json_atomic


def run_study(
    study: StudyConfig,
    folder: Path,
    out: Path,
    *,
    overrides: dict[str, Any],
    say: Callable[[str], None] = lambda line: None,
    **where: Any,
) -> list[StudyRow]:
    """Train and evaluate what is not done yet; the rows of the table, written to ``out`` as well.

    Section 4.2. Under torchrun all processes train each family together; the first one evaluates and has the rows.

    ``overrides``: fields of RunConfig that replace the protocol's; ``where``: device, threads, resume and quiet of
    :func:`benchmark.run.run`. UsageError when ``out`` holds another experiment, or one of the families cannot take
    such clips: before the first is trained.
    """
    from benchmark.engine.device import select_device
    from benchmark.engine.ranks import check_shared_batch, is_first_rank
    from benchmark.run import Library, evaluate_level, run
    from benchmark.video_data import check_model_takes, open_folder, settings_of

    stores = open_folder(folder)
    side = min(stores["train"].clip_shape[1:3])
    configs = {
        title: make_config(
            "d48",
            model=contender.model,
            hidden=contender.hidden,
            source=VIDEO_SOURCE,
            **settings_of(stores),
            **overrides,
        )
        for title, contender in study.contenders_for(side).items()
    }
    select_device(str(where.get("device", "auto")))
    for config in configs.values():
        check_shared_batch(config.batch_size)
        check_model_takes(config, stores)
    data = {name: store.content_hash for name, store in stores.items()}
    asked = asked_of(study, overrides, data)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a directory.")
    record = out / ASKED
    if record.exists() and read_json(record) != json.loads(json.dumps(asked)):
        raise UsageError(f"--out {out} holds another experiment, or one on other data: {record}; give another folder.")
    if is_first_rank():
        out.mkdir(parents=True, exist_ok=True)
        write_json_atomic(record, asked)
    rows, library = [], Library()
    for title, config in configs.items():
        say(f"{title}: {VIDEO_MODELS[config.model].title}, h = {config.hidden}")
        directory = run(
            config,
            out / config.model,
            digits=None,
            data_dir=folder,
            levels=(study.at,),
            say=say,
            library=library,
            **where,
        )
        if not is_first_rank():
            continue
        at_level = evaluate_level(
            directory, study.at, folder, device=str(where.get("device", "auto")), say=say, library=library
        )
        rows.append(row_of(study.letter, title, directory, at_level))
    if is_first_rank():
        write_json_atomic(out / FOUND, Study(out.name, study, overrides, data, tuple(rows)).to_json())
    return rows
