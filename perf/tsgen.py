"""How fast clips are made and read, as ratios from one interleaved run.

    .venv/bin/python perf/tsgen.py            # about five minutes on two cores; writes perf/results/tsgen.json

The subject is the whole command in a new process, start-up included. Beside it: the pipeline without start-up, memcpy
of the same bytes (the floor of the memory), the same frames through h5py's own gzip, and the plain NumPy reference.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.append(sys.path.pop(0))  # this file has the name of the package: let the package be found first

import h5py
import numpy as np
from measure import interleaved, machine, ratios, render, write

import tsgen
from tsgen.generate import Generator, make
from tsgen.recipe import make_recipe
from tsgen.reference import render_clip
from tsgen.sampling import sample_clips, stream_key

CLIP_SHAPE = (20, 64, 64)


def contenders(domain: str, n: int, folder: Path) -> dict[str, Callable[[], int]]:
    recipe, digit_set = make_recipe(domain, n, digits="embedded")
    bitmaps, labels = (digit_set.bitmaps, digit_set.labels) if digit_set else (None, None)
    generator = Generator(recipe, bitmaps, labels)
    some, read_clips = min(n, 1000), min(n, 4000)
    source = np.ones((256, *CLIP_SHAPE), dtype=np.uint8)
    target = np.empty_like(source)
    made = folder / f"{domain}.h5"
    command = [sys.executable, "-c", "from tsgen.cli import main; main()", "make", "--domain", domain, "--n", str(n)]

    def whole_command() -> int:
        subprocess.run([*command, "--digits", "embedded", "--out", made, "--force"], check=True, capture_output=True)
        return n

    def pipeline() -> int:
        make(domain, n, made, digits="embedded", force=True, quiet=True)
        return n

    def memcpy() -> int:
        for _ in range(n // len(source)):
            np.copyto(target, source)
        return n // len(source) * len(source)

    def h5py_gzip() -> int:
        frames, _ = generator.clips(np.arange(some))
        with h5py.File(folder / "plain.h5", "w") as file:
            chunks = (1, *CLIP_SHAPE)
            file.create_dataset("clips", data=frames, chunks=chunks, compression="gzip", compression_opts=1)
        return some

    def numpy_reference() -> int:
        few = 60
        specs = sample_clips(recipe.domain, "train", 0, np.arange(few), 0 if bitmaps is None else len(bitmaps))
        key = stream_key(recipe.domain, "train", 0)
        for row in range(few):
            render_clip(specs, row, recipe.domain, key, bitmaps)
        return few

    def read_back() -> int:
        with tsgen.open_clips(made) as clip_set:
            return sum(len(clip_set.clips(start, start + 500)) for start in range(0, read_clips, 500))

    def read_with_h5py() -> int:
        with h5py.File(made) as file:
            return sum(len(file["clips"][start : start + 500]) for start in range(0, read_clips, 500))

    return {
        "tsgen make, whole command": whole_command,
        "pipeline in process": pipeline,
        "memcpy of the same bytes": memcpy,
        "kernels + h5py's own gzip": h5py_gzip,
        "plain NumPy reference, not written": numpy_reference,
        "read: open_clips(...).clips()": read_back,
        "read: plain h5py": read_with_h5py,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-dots", type=int, default=100_000)
    parser.add_argument("--n-noise", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry-run", action="store_true", help="do not write the results file")
    options = parser.parse_args()
    result = {
        "command": " ".join(["python perf/tsgen.py", *sys.argv[1:]]),
        "rounds": options.rounds,
        "machine": machine("numpy", "numba", "h5py", "isal"),
        "n": {"5dot": options.n_dots, "mnist-bg": options.n_noise},
        "domains": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for domain, n in result["n"].items():
            print(domain, file=sys.stderr)
            rates = interleaved(contenders(domain, n, Path(folder)), options.rounds)
            result["domains"][domain] = ratios(rates, "tsgen make, whole command")
    print(render(result))
    if not options.dry_run:
        print(f"wrote {write('tsgen', result)}")


if __name__ == "__main__":
    main()
