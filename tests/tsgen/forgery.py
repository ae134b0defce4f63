"""What a careful forger of a release writes anew after a change, so that only the change itself is left to find."""

from __future__ import annotations

import json
from pathlib import Path

from tsgen.common.files import write_json_atomic
from tsgen.common.sums import hash_folder
from tsgen.release.croissant import croissant_of
from tsgen.release.texts import texts_of


def rewrite_texts(folder: Path) -> None:
    """Card, licence, attribution and Croissant of a release folder, from its manifest and its files."""
    manifest = json.loads((folder / "release.json").read_text(encoding="utf-8"))
    for name, text in texts_of(manifest).items():
        (folder / name).write_text(text, encoding="utf-8")
    files = {name: (digest, (folder / name).stat().st_size) for name, digest in hash_folder(folder).items()}
    write_json_atomic(folder / "croissant.json", croissant_of(manifest, files))
