"""How fast videos become domains, as ratios from one interleaved run, and how much memory that takes.

    .venv/bin/python perf/d48dom.py           # about four minutes on two cores; writes perf/results/d48dom.json

Clips are Mini-Diving48's at the real size, 640x480, as H.264. Each section has its naive way beside it: all frames
converted for 32 wanted ones; torchvision's Mask R-CNN with its own resizing, caps and pasting; a dense 55x55 blur for
each of S1 and S2. Decoders and torch have one thread, as each worker of a build has.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(sys.path.pop(0))  # tsgen.py beside this file has the name of the package: let that be found first

import numpy as np
from measure import interleaved, machine, ratios, render_domains, write
from numpy.typing import NDArray

from diving48_domains.annotations import ClipEntry, open_folder, write_list
from diving48_domains.blur import blurred
from diving48_domains.domains import DOMAINS, IMAGENET_MEAN, DomainOptions, compose
from diving48_domains.instance_file import write_instances
from diving48_domains.instances import ClipInstances, Instance
from diving48_domains.mini.clip import make_clip
from diving48_domains.mini.config import MiniConfig
from diving48_domains.sampling import uniform_indices
from diving48_domains.video import read_frames, require_av, write_video

HEIGHT, WIDTH, FRAMES = 480, 640, 32
LENGTH = 132  # frames of a video: 4.4 s, the mean of Diving48, at 30 frames/s
TARGETS = {"decode": 1.3, "network": 4.0, "compose": 10.0}
MEMORY_TARGET = 1.15  # peak of the larger build over that of the smaller one
TITLES = {
    "decode": (f"32 of the {LENGTH} frames of a video of 640x480, as RGB", "clips/s"),
    "network": ("Mask R-CNN ResNet-50 FPN, one frame of 640x480", "frames/s"),
    "compose": ("S1, S2 and T of a frame of 640x480", "frames/s"),
}
Contenders = dict[str, Callable[[], int]]


def decoding(videos: list[Path]) -> Contenders:
    av = require_av()

    def ours() -> int:
        for path in videos:
            read_frames(path, FRAMES)
        return len(videos)

    def all_converted() -> int:
        for path in videos:
            with av.open(str(path)) as container:
                container.streams.video[0].codec_context.thread_count = 1
                frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            np.stack([frames[index] for index in uniform_indices(len(frames))])
        return len(videos)

    def one_converter() -> int:
        for path in videos:
            with av.open(str(path)) as container:
                container.streams.video[0].codec_context.thread_count = 1
                converter = av.video.reformatter.VideoReformatter()
                frames = [converter.reformat(frame, format="rgb24").to_ndarray() for frame in container.decode(video=0)]
            np.stack([frames[index] for index in uniform_indices(len(frames))])
        return len(videos)

    return {
        "read_frames(path, 32)": ours,
        "every frame's to_ndarray(), 32 kept": all_converted,
        "every frame converted by one converter, 32 kept": one_converter,
    }


def network(frame: NDArray[np.uint8]) -> Contenders:
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    from diving48_domains.segmenter.network import DetectOptions, NetworkSpec, build_network, detect, to_images

    torch.set_num_threads(1)
    capped = build_network(NetworkSpec("resnet50", "batch"), seed=0).eval()
    published = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2).eval()
    published.load_state_dict(capped.state_dict())
    images = to_images(frame[None], torch.device("cpu"))
    options = DetectOptions()

    def ours() -> int:
        detect(capped, images, options)
        return 1

    def defaults() -> int:
        with torch.no_grad():
            published(list(images))
        return 1

    return {"native size, capped, box-local masks": ours, "torchvision's defaults": defaults}


def composing(frames: NDArray[np.uint8], divers: list[list[Instance]]) -> Contenders:
    import torch
    from torchvision.models.detection.roi_heads import paste_masks_in_image
    from torchvision.transforms.functional import gaussian_blur

    torch.set_num_threads(1)
    options = DomainOptions()
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)
    boxes = [torch.from_numpy(np.stack([one.box for one in each])) for each in divers]
    masks = [torch.from_numpy(np.stack([one.mask for one in each])).float()[:, None] / 255 for each in divers]
    fill = torch.tensor(IMAGENET_MEAN, dtype=torch.uint8)[:, None, None]

    def ours() -> int:
        compose(frames, divers, options, ("S1", "S2", "T"))
        return len(frames)

    def dense() -> int:
        for picture, box, mask in zip(pictures, boxes, masks, strict=True):
            soft = paste_masks_in_image(mask, box, (HEIGHT, WIDTH)).amax(dim=0)
            for threshold in (options.mask_threshold, 0.0):
                background = gaussian_blur(picture, [55, 55], [15.0, 15.0])
                torch.where(soft > threshold, picture, background)
            torch.where(soft > 0, fill, picture)
        return len(frames)

    def all_seven() -> int:
        compose(frames, divers, options, tuple(DOMAINS))
        return len(frames)

    def blur_alone() -> int:
        for frame in frames:
            blurred(frame, options.blur_sigma_px, options.blur_size_px)
        return len(frames)

    return {
        "compose(), one separable blur": ours,
        "torchvision, a dense blur for S1 and for S2": dense,
        "compose(), all seven domains": all_seven,
        "the separable blur alone": blur_alone,
    }


def soft(one: Instance) -> Instance:
    """A 28x28 mask over the same box, as a network gives it."""
    from PIL import Image

    small = np.asarray(Image.fromarray(one.mask).resize((28, 28), Image.Resampling.BILINEAR))
    return Instance(one.box, 0.9, small)


def scenes(number: int) -> list[tuple[str, int, NDArray[np.uint8], list[list[Instance]]]]:
    """Mini clips at the real size: id, label, frames, exact instances of each frame."""
    config = MiniConfig(train=0, test=number, val=0, shift=0, swap=0, width=WIDTH, height=HEIGHT,
                        labels_train=0, labels_val=0)  # fmt: skip
    made = []
    for index in range(number):
        clip = make_clip(config, "test", index)
        found = [
            [one for masks in clip.masks[:, t] if (one := Instance.of_pixels(masks)) is not None]
            for t in range(len(clip.frames))
        ]
        made.append((clip.clip_id, clip.label, clip.frames, found))
    return made


CHILD = """
import re, sys
from pathlib import Path
from diving48_domains.annotations import open_folder
from diving48_domains.build import build
root = Path(sys.argv[1])
build(open_folder(root), "test", root / "found.h5", root / "out", workers=0, quiet=True)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024)
"""


def memory(folder: Path, frames: NDArray[np.uint8], divers: list[list[Instance]]) -> dict[str, float]:
    """Peak MiB of whole builds: more clips, longer clips. Long clips repeat the frames forth and back. Linux only.

    Not by ``getrusage``, whose peak a new process inherits from the one that started it.
    """
    peaks = {}
    for name, clips, times in (("2 clips", 2, 1), ("8 clips", 8, 1), ("2 clips, 4 times as long", 2, 4)):
        root = folder / name.replace(" ", "-")
        (root / "rgb").mkdir(parents=True)
        order = np.concatenate([np.arange(len(frames))[:: 1 if part % 2 == 0 else -1] for part in range(times)])
        ids = [f"memory_{number:05d}" for number in range(clips)]
        for clip_id in ids:
            write_video(root / "rgb" / f"{clip_id}.mp4", (frames[t] for t in order), 25, "h264", 23)
        found = [tuple(divers[t]) for t in order.tolist()]
        write_list(root / "Diving48_V2_test.json", [ClipEntry(clip_id, 0) for clip_id in ids])
        records = [ClipInstances(clip_id, HEIGHT, WIDTH, np.arange(len(order)), tuple(found)) for clip_id in ids]
        write_instances(root / "found.h5", records, {})
        open_folder(root)
        run = subprocess.run([sys.executable, "-c", CHILD, root], check=True, capture_output=True, text=True)
        peaks[name] = float(run.stdout)
        print(f"  {name}: {peaks[name]:.0f} MiB", file=sys.stderr)
    return peaks


def judge(result: dict[str, Any]) -> list[str]:
    """Every target that was missed, in words."""
    missed = []
    for section, target in TARGETS.items():
        rows = list(result["sections"].get(section, {}).values())
        if rows and rows[1]["subject_is_faster_by"] < target:
            missed.append(f"{section}: {rows[1]['subject_is_faster_by']:.2f}x, the target is {target}x")
    peaks = list(result["memory_mib"].values())
    if peaks and max(peaks) > MEMORY_TARGET * peaks[0]:
        missed.append(f"memory grows: {', '.join(f'{peak:.0f}' for peak in peaks)} MiB")
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=4, help="videos to decode")
    parser.add_argument("--sections", default=",".join([*TARGETS, "memory"]))
    parser.add_argument("--dry-run", action="store_true", help="do not write the results file")
    options = parser.parse_args()
    sections = options.sections.split(",")
    result: dict[str, Any] = {
        "command": " ".join(["python perf/d48dom.py", *sys.argv[1:]]),
        "rounds": options.rounds,
        "machine": machine("numpy", "numba", "torch", "torchvision", "av"),
        "titles": TITLES,
        "sections": {},
        "memory_mib": {},
    }
    made = scenes(options.clips)
    _, _, frames, exact = max(made, key=lambda one: len(one[2]))
    busy = [t for t in range(len(frames)) if exact[t]][:: max(1, len(frames) // 8)][:8]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = []
        for clip_id, _, pictures, _ in made:
            videos.append(folder / f"{clip_id}.mp4")
            there_and_back = np.concatenate([np.arange(len(pictures)), np.arange(len(pictures))[::-1]])
            order = np.resize(there_and_back, LENGTH)
            write_video(videos[-1], (pictures[t] for t in order), 30, "h264", 23)
        divers = [[soft(one) for one in exact[t]] for t in range(len(frames))]
        makers: dict[str, Callable[[], Contenders]] = {
            "decode": lambda: decoding(videos),
            "network": lambda: network(frames[busy[0]]),
            "compose": lambda: composing(np.ascontiguousarray(frames[busy]), [divers[t] for t in busy]),
        }
        for section, maker in makers.items():
            if section in sections:
                print(section, file=sys.stderr)
                contenders = maker()
                result["sections"][section] = ratios(interleaved(contenders, options.rounds), next(iter(contenders)))
        if "memory" in sections:
            result["memory_mib"] = memory(folder, frames, divers)
    print(render_domains(result))
    missed = judge(result)
    print("\n".join(f"MISSED {line}" for line in missed) or "all targets are met")
    if not options.dry_run:
        print(f"wrote {write('d48dom', result)}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
