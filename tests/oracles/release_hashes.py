"""Content hashes of the clip files of the dataset release, for tests/tsgen/test_release_hashes.py.

They belong to RELEASE_VERSION: where one changes, its MAJOR must, and ``python tests/oracles/release_hashes.py``
is run again. Digits are the embedded ones, because MNIST's may not be at hand; domains of dots do not depend on them.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tsgen.release.build import build_release
from tsgen.release.manifest import read_manifest
from tsgen.release.plan import RELEASE_VERSION, Plan

HASHES = Path(__file__).with_suffix(".json")
PLANS = {"small": Plan(sizes={"train": 12, "val": 6, "test": 5}), "real": Plan()}


def facts(name: str) -> dict[str, Any]:
    """Of the plan of that name, built anew: file -> content hash, and the clips that occur twice."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "release"
        build_release(out, PLANS[name], digits="embedded", quiet=True)
        manifest = read_manifest(out)
    parts = [part for config in manifest["configs"].values() for part in config["splits"].values()]
    return {"content_hashes": {part["file"]: part["content_hash"] for part in parts}, "audit": manifest["audit"]}


if __name__ == "__main__":
    found = {"version": RELEASE_VERSION, **{name: facts(name) for name in PLANS}}
    HASHES.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {HASHES}")
