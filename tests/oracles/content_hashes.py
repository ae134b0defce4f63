"""Content hashes of small files of every domain, profile and background.

They were written by this program and are compared by tests/tsgen/test_exactness.py: whoever changes a byte of what a
recipe gives must see it there, raise STREAM_VERSION and run ``python tests/oracles/content_hashes.py`` again.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import tsgen
from tsgen.domains import DOMAINS, Domain, get_domain
from tsgen.profiles import PROFILES

MANIFEST = Path(__file__).with_suffix(".json")
N, SEED = 23, 11


def cases() -> dict[str, tuple[Domain, str]]:
    """Name -> (domain, split)."""
    found = {
        f"{profile}/{name}/{split}": (get_domain(name, profile), split)
        for profile in PROFILES
        for name in DOMAINS
        for split in ("train", "test")
    }
    base = DOMAINS["mnist-bg"]
    found["dials/static/val"] = base.with_dials(background="static"), "val"
    found["dials/drift/val"] = base.with_dials(background="drift", contrast=0.6), "val"
    found["dials/loud and coarse/val"] = base.with_dials(intensity=1.0, sigma_low=1, sigma_high=2), "val"
    found["dials/fast/val"] = DOMAINS["2dot"].with_dials(speed_factor=1.3, num_frames=27, size_px=100), "val"
    return found


def content_hash(domain: Domain, split: str, **options: int) -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "small.h5"
        tsgen.make(domain, N, path, seed=SEED, split=split, digits="embedded", quiet=True, **options)
        with tsgen.open_clips(path) as clip_set:
            return clip_set.content_hash


def all_hashes(**options: int) -> dict[str, str]:
    return {name: content_hash(domain, split, **options) for name, (domain, split) in cases().items()}


if __name__ == "__main__":
    MANIFEST.write_text(json.dumps(all_hashes(), indent=1) + "\n")
    print(f"wrote {MANIFEST}")
