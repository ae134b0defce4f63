"""Answer keys and submissions as of Diving48, with drawn answers: no frames, no training, no torch."""

from __future__ import annotations

import json

import numpy as np

from benchmark.attributes import MATCHES
from benchmark.predictions import Predictions
from benchmark.submission.key_file import key_of_list, write_key
from benchmark.submission.record import EvaluatedOn, Model, Submission
from benchmark.submission.write import write_submission

SPLITS = {"V": "val", "S1": "test", "S2": "test", "T": "test"}
SKILL = {"V": 0.6, "S1": 0.5, "S2": 0.35, "T": 0.12}
COMMON = 15


def write_list(path, n, seed, classes=range(48)):
    """As V2's lists: sorted by label, one class more frequent than the others."""
    rng = np.random.default_rng(seed)
    populated = [each for each in classes if each != 30]
    labels = np.sort(np.where(rng.random(n) < 0.1, COMMON, rng.choice(populated, n)))
    entries = [
        {"vid_name": f"{seed:011d}_{place:05d}", "label": int(label), "start_frame": 0, "end_frame": 99}
        for place, label in enumerate(labels)
    ]
    path.write_text(json.dumps(entries))
    return path


def write_keys(folder, n_val=300, n_test=400):
    """``<domain>.json`` of V, S1, S2, T; the last three of one list."""
    folder.mkdir()
    lists = {"val": write_list(folder / "a_val.json", n_val, 1), "test": write_list(folder / "b_test.json", n_test, 2)}
    keys = {}
    for domain, split in SPLITS.items():
        keys[domain] = key_of_list(lists[split], domain, split)
        write_key(folder / f"{domain}.json", keys[domain])
    return keys


def answers(key, skill, seed, *, top5=False, attributes=2.0):
    """Right with probability ``skill``; wrong answers share attributes with the truth."""
    rng = np.random.default_rng([seed, sum(key.domain.encode())])
    n = len(key)
    logits = attributes * MATCHES[key.label].sum(axis=-1) + rng.normal(size=(n, 48)) * 2
    logits[:, 30] -= 100
    logits[np.arange(n), key.label] += np.where(rng.random(n) < skill, 100, -4)
    logits = logits.astype(np.float32)
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, :5].astype(np.int64)
    facts = (key.domain, key.split, seed, key.class_names, key.content_hash, None, None, key.clip_id, key.label)
    return Predictions(*facts, None if top5 else logits, ranked if top5 else None)


def write(out, keys, *, name="mine", seeds=(1, 2), skill=None, top5=False, first=0):
    """A submission on V, S1, S2, T. ``first``: added to the seeds of the draws, so that models differ."""
    of = SKILL | (skill or {})
    domains = {domain: EvaluatedOn(key.split, len(key), key.content_hash) for domain, key in keys.items()}
    predictions = []
    for seed in seeds:
        for domain, key in keys.items():
            drawn = answers(key, of[domain], first + seed, top5=top5)
            predictions.append(
                Predictions(**{f: getattr(drawn, f) for f in drawn.__dataclass_fields__} | {"seed": seed})
            )
    model = Model(name, "other", 1234, False)
    targets = ("S1", "S2", "T")
    write_submission(out, Submission(name, model, "in words", "the last", "V", targets, seeds, domains), predictions)
    return out
