"""The rules of the house: who may import whom, how long files may be, what the package must not contain."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("tsgen", "diving48_domains", "benchmark")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]

# What benchmark may use of the others: the shared floor, contracts, vocabularies, recipes and the public names.
OPEN_TO_BENCHMARK = {
    "tsgen": {
        "tsgen",
        "tsgen.clipfile",
        "tsgen.clipset",
        "tsgen.vocabulary",
        "tsgen.domains",
        "tsgen.recipe",
        "tsgen.digits",
        "tsgen.release.manifest",
    },
    "diving48_domains": {
        "diving48_domains.vocabulary",
        "diving48_domains.manifest",
        "diving48_domains.framestore",
        "diving48_domains.storewriter",
        "diving48_domains.instances",
        "diving48_domains.domains",
        "diving48_domains.mini_study",
    },
}

# Inside a package: a module imports only from lower layers, or from its own.
LAYERS = {
    "tsgen": [
        {"vocabulary", "common", "philox", "profiles", "published", "framesource", "export_forms", "canvas"},
        {"trajectories", "motion", "domains", "entities", "idx", "domainfile", "strict", "deflate"},
        {"perlin", "mnist_cache", "digits"},
        {"recipe", "sampling"},
        {"raster", "reference", "clipfile", "clipset"},
        {"generate", "importer", "exporter", "slices", "merge"},
        {"audit", "preview", "verify", "torch_data", "originals"},
        {"release"},
        {
            "commands",
            "merge_commands",
            "show_commands",
            "interop_commands",
            "audit_commands",
            "originals_commands",
            "release_commands",
            "hub_commands",
        },
        {"cli"},
    ],
    "diving48_domains": [
        {"vocabulary", "instances", "sampling", "division", "containers", "clip_list", "validation"},
        {"annotations", "pasting", "tracks", "blur", "manifest", "linking", "decoding"},
        {"video", "labels", "coco", "instance_file", "framestore", "tracking", "domains", "metrics"},
        {"storewriter", "mini", "segmenter", "sources", "audit", "build_options", "originals", "no_frames"},
        {"segment", "segment_parts", "segment_device", "clip_build", "earlier", "pack_options"},
        {"jobs", "copies", "shard_runs"},
        {"build", "pack", "merge", "truth", "truth_plot", "embedded"},
        {"mini_study", "release"},
        {"preview"},
        {
            "commands",
            "data_commands",
            "mini_commands",
            "train_commands",
            "segment_commands",
            "build_commands",
            "truth_commands",
            "merge_commands",
            "preview_commands",
            "pack_commands",
            "originals_commands",
            "hub_commands",
            "release_commands",
        },
        {"cli"},
    ],
}


def imports(path: Path, *, at_run_time: bool = False) -> set[str]:
    """Every project module that a file imports; with ``at_run_time`` not those under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    if at_run_time:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
                node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_keep_their_direction(path):
    package = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        other = name.split(".")[0]
        if other == package:
            continue
        assert package != "tsgen", f"tsgen imports {name}"
        assert other != "benchmark", f"{package} imports {name}"
        if name.startswith("tsgen.common"):
            continue
        assert package == "benchmark", f"{package} imports {name}"
        allowed = OPEN_TO_BENCHMARK[other]
        module = name if name in allowed else name.rpartition(".")[0]
        assert module in allowed, f"benchmark imports {name}"


@pytest.mark.parametrize("package", LAYERS)
def test_modules_keep_their_layers(package):
    level = {module: height for height, layer in enumerate(LAYERS[package]) for module in layer}
    for path in sorted((ROOT / package).rglob("*.py")):
        module = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        if module == "__init__":
            continue
        assert module in level, f"{path} has no layer: add it to LAYERS"
        for name in imports(path, at_run_time=True):
            parts = name.split(".")
            if parts[0] == package and len(parts) > 1 and parts[1] in level and parts[1] != module:
                assert level[parts[1]] <= level[module], f"{path} imports {name} from a higher layer"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 400


def test_the_shared_floor_is_light():
    for path in (ROOT / "tsgen" / "common").glob("*.py"):
        assert all(name.startswith("tsgen.common") for name in imports(path)), path.name
