"""How fast models train: the engine against the plain modules, as ratios from one interleaved run.

    .venv/bin/python perf/train.py                     # CPU, h = 8, 16, 48; writes perf/results/train-cpu.json
    .venv/bin/python perf/train.py --device cuda       # GPU, every h of the paper; writes perf/results/train-cuda.json

"plain" is the architecture written down with standard modules (benchmark/models/reference.py, and the TimeSformer
package's own forward), trained the usual way: PyTorch's default allocator and settings, the same uint8 clips gathered
and scaled on the device, the same SGD. "engine" is what ``rac-bench run`` does. Each figure is a whole training step of
64 clips (on a CPU 16 above h = 16); each contender runs in a process of its own, in turns, because the allocator is set
once per process.

On a GPU also: steps a second of a pack of ten models (5 seeds x 2 sources), the share of the FLOPs that the device's
peak would allow, and the hours that the 400 runs of the paper would take at their full epoch budgets.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.append(sys.path.pop(0))  # tsgen.py beside this file has the name of the package: let that be found first

from measure import machine, render_training, write

LARGE_ON_A_CPU, SMALL_BATCH, BATCH = 16, 16, 64
LONGEST_S = 20
VARIANTS = ("3dcnn", "convlstm", "timesf-8", "timesf-1")
STEPS_AN_EPOCH = 4000 // BATCH
MOST_EPOCHS = {"3dcnn": 100, "convlstm": 100, "timesf-8": 300, "timesf-1": 300}
RUNS_A_SIZE = 10
H200_FP32_FLOPS = 67e12  # of the data sheet


def measure(kind: str, model: str, hidden: int, device_name: str, steps: int, threads: int, pack: int) -> None:
    """In a process of its own: prints seconds a step (the fastest epoch of a few) and FLOPs a step."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch.utils.flop_counter import FlopCounterMode

    from benchmark.config import make_config
    from benchmark.engine.device import prepare
    from benchmark.engine.precision import prepare_precision
    from benchmark.evaluation import as_model_input
    from benchmark.models import build_model

    device = torch.device(device_name)
    batch_size = SMALL_BATCH if device_name == "cpu" and hidden > LARGE_ON_A_CPU else BATCH
    n = steps * batch_size
    random = np.random.default_rng(0)
    clips = torch.from_numpy(random.integers(0, 256, (n, 20, 64, 64), dtype=np.uint8)).to(device)
    labels = torch.from_numpy(random.integers(0, 5, n)).to(device)
    config = make_config("paper", model=model, hidden=hidden, n_train=n, batch_size=batch_size)
    torch.set_num_threads(threads)
    prepare_precision("fp32", device)
    if kind == "engine":
        prepare(device, threads, str(pack))
        epoch = engine_epoch(config, clips, labels, pack)
    else:
        epoch = plain_epoch(config, clips, labels)

    times: list[float] = []
    while len(times) < 2 or (len(times) < 4 and sum(times) < LONGEST_S):
        begun = time.perf_counter()
        epoch(random.permutation(n))
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(build_model(model, hidden).to(device)(as_model_input(clips[:2])), labels[:2]).backward()
    flops = counter.get_total_flops() / 2 * batch_size
    print(json.dumps({"seconds": min(times[1:]) / steps, "batch": batch_size, "flops": flops}))


def engine_epoch(config: Any, clips: Any, labels: Any, pack: int) -> Callable[[Any], None]:
    """What ``rac-bench run`` does with an epoch."""
    from benchmark.engine.pack import Pack, Tuning
    from benchmark.engine.step import Resident, Steps
    from benchmark.models import build_model

    models = [build_model(config.model, config.hidden) for _ in range(pack)]
    resident = Resident(clips[None], labels[None], clips[None, :1], labels[None, :1])
    steps = Steps(Pack(models, clips.device, Tuning()), [{} for _ in models], config, resident, [0] * pack)

    def epoch(order: Any) -> None:
        steps.train_epoch([order] * pack, lambda: None)

    return epoch


def plain_epoch(config: Any, clips: Any, labels: Any) -> Callable[[Any], None]:
    """The usual loop around the architecture as it is written down."""
    import torch
    import torch.nn.functional as F

    from benchmark.evaluation import as_model_input
    from benchmark.models import MODELS
    from benchmark.models.reference import PlainCNN3D, PlainConvLSTM
    from benchmark.models.specs import TEMPORAL_SHAPE, CNN3DSpec, ConvLSTMSpec
    from benchmark.models.timesformer import TimeSformer

    spec = MODELS[config.model].spec_of(config.hidden)
    model: torch.nn.Module
    if isinstance(spec, CNN3DSpec):
        model = PlainCNN3D(spec, TEMPORAL_SHAPE, 5)
    elif isinstance(spec, ConvLSTMSpec):
        model = PlainConvLSTM(spec, TEMPORAL_SHAPE, 5)
    else:
        model = TimeSformer(spec, TEMPORAL_SHAPE, 5).net
    model = model.to(clips.device).train()
    optimizer = torch.optim.SGD(
        model.parameters(), config.learning_rate, config.momentum, weight_decay=config.weight_decay
    )

    def epoch(order: Any) -> None:
        for batch in torch.from_numpy(order).to(clips.device).split(config.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(as_model_input(clips[batch])), labels[batch]).backward()
            optimizer.step()

    return epoch


def in_process(kind: str, model: str, hidden: int, options: argparse.Namespace, pack: int = 1) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", kind, model, str(hidden), str(pack), "--device", options.device]
    command += ["--steps", str(options.steps), "--threads", str(options.threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(model: str, hidden: int, options: argparse.Namespace) -> dict[str, Any]:
    rounds = [
        {kind: in_process(kind, model, hidden, options) for kind in ("plain", "engine")} for _ in range(options.rounds)
    ]
    seconds = {kind: statistics.median(r[kind]["seconds"] for r in rounds) for kind in ("plain", "engine")}
    flops, batch = rounds[0]["engine"]["flops"], int(rounds[0]["engine"]["batch"])
    row: dict[str, Any] = {
        "model": model,
        "hidden": hidden,
        "batch": batch,
        "plain_ms": 1e3 * seconds["plain"],
        "engine_ms": 1e3 * seconds["engine"],
        "engine_is_faster_by": statistics.median(r["plain"]["seconds"] / r["engine"]["seconds"] for r in rounds),
        "gflop_per_step": flops / 1e9,
        "gflops_per_second": flops / seconds["engine"] / 1e9,
    }
    best = seconds["engine"]
    if options.device == "cuda":
        packed = in_process("engine", model, hidden, options, RUNS_A_SIZE)["seconds"] / RUNS_A_SIZE
        best = min(best, packed)
        row |= {"packed_ms_per_model": 1e3 * packed, "share_of_fp32_peak": flops / best / H200_FP32_FLOPS}
        row |= {"steps_per_second": 1 / best, "clips_per_second": batch / best}
    row["hours_of_its_runs"] = best * BATCH / batch * STEPS_AN_EPOCH * MOST_EPOCHS[model] * RUNS_A_SIZE / 3600
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(VARIANTS))
    parser.add_argument("--hidden", help="[8,16,48; on a GPU the paper's ten]")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1, help="training steps in each figure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dry-run", action="store_true", help="do not write the results file")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, model, hidden, pack = options.one
        measure(kind, model, int(hidden), options.device, options.steps, options.threads, int(pack))
        return
    sizes = options.hidden or ("8,16,48" if options.device == "cpu" else "2,4,6,8,10,12,16,24,32,48")
    result: dict[str, Any] = {
        "command": " ".join(["python perf/train.py", *sys.argv[1:]]),
        "rounds": options.rounds,
        "machine": {**machine("numpy", "torch"), "threads": options.threads},
        "rows": [],
    }
    for hidden in map(int, sizes.split(",")):
        for model in options.models.split(","):
            result["rows"].append(compare(model, hidden, options))
            print(result["rows"][-1], file=sys.stderr)
    if options.device == "cuda":
        import torch

        result["machine"]["gpu"] = torch.cuda.get_device_name()
    result["hours_of_all_runs_measured_here"] = sum(row["hours_of_its_runs"] for row in result["rows"])
    print(render_training(result))
    if not options.dry_run:
        print(f"wrote {write(f'train-{options.device}', result)}")


if __name__ == "__main__":
    main()
