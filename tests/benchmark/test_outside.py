from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.models import MODELS, OUTSIDE
from benchmark.models.outside import BUILDERS, FIXED, LEAST, Wanted, build_outside, fit
from benchmark.models.specs import TEMPORAL_SHAPE, ClipShape
from tsgen.common.errors import DataError, UsageError

WITHOUT = "comes with the extra 'models', which is not installed"


def clips(shape=TEMPORAL_SHAPE, n=2):
    return torch.rand(n, shape.frames, shape.channels, shape.height, shape.width)


def assert_trains(model, shape=TEMPORAL_SHAPE):
    assert model.training
    logits = model(clips(shape))
    assert logits.shape == (2, 5)
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.net.parameters())


def test_every_kind_of_the_registry_has_a_builder():
    assert list(BUILDERS) == list(OUTSIDE)
    assert not set(BUILDERS) & set(MODELS)


def test_the_models_page_names_every_kind_and_every_resampled_model():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    examples = re.findall(r"\| `(\w+):[^|`]+` \|$", page, flags=re.MULTILINE)
    assert examples == list(BUILDERS)
    assert all(f"`{name}`" in page for name in {**FIXED, **LEAST})


@pytest.mark.parametrize("frames, wanted, expected", [
    (20, 4, [2, 7, 12, 17]),
    (20, 16, [0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15, 16, 18, 19]),
    (3, 6, [0, 0, 1, 1, 2, 2]),
    (5, 5, [0, 1, 2, 3, 4]),
])  # fmt: skip
def test_frames_are_the_nearest_in_even_steps(frames, wanted, expected):
    numbered = torch.arange(frames).view(1, frames, 1, 1, 1).expand(2, -1, 1, 8, 8).float()
    assert fit(numbered, Wanted(frames=wanted))[1, :, 0, 4, 4].tolist() == expected
    assert expected == [int((i + 0.5) * frames / wanted) for i in range(wanted)]


def test_size_and_channels():
    ramp = torch.linspace(0, 1, 64).expand(2, 3, 1, 64, 64)
    small = fit(ramp, Wanted(channels=3, size=(16, 32)))
    assert small.shape == (2, 3, 3, 16, 32)
    assert torch.equal(small[:, :, 0], small[:, :, 2])
    pairs = ramp[0, 0, 0, 0].view(32, 2).mean(1)  # away from the border, halving a ramp averages pairs
    torch.testing.assert_close(small[0, 0, 0, 8, 2:-2], pairs[2:-2], rtol=0, atol=1e-5)
    assert fit(ramp, Wanted(1, 3, (64, 64))) is ramp


def test_antialiasing_a_pixel_that_bilinear_sampling_would_miss():
    clip = torch.zeros(1, 1, 1, 64, 64)
    clip[..., 2, 2] = 1
    assert fit(clip, Wanted(size=(8, 8))).sum() > 0
    assert F.interpolate(clip[0], (8, 8), mode="bilinear").sum() == 0


def test_torchvision_every_video_model_fits_temporal_shape():
    models = pytest.importorskip("torchvision.models", reason=f"torchvision {WITHOUT}")
    import torchvision.models.video

    names = models.list_models(module=torchvision.models.video)
    assert {*FIXED, *LEAST} <= set(names)
    for name in names:
        with torch.device("meta"):  # shapes without the arithmetic; building runs one clip through the model
            model = build_outside(f"torchvision:{name}", TEMPORAL_SHAPE, 5)
        assert next(model.net.parameters()).is_meta


def test_torchvision_trains_and_sees_channels_before_frames():
    models = pytest.importorskip("torchvision.models", reason=f"torchvision {WITHOUT}")
    shape = ClipShape(5, 1, 24, 32)
    model = build_outside("torchvision:mc3_18", shape, 5)
    assert_trains(model, shape)
    theirs = models.get_model("mc3_18", weights=None, num_classes=5)
    theirs.load_state_dict(model.net.state_dict())
    batch = clips(shape)
    expected = theirs.eval()(batch.repeat(1, 1, 3, 1, 1).movedim(1, 2))
    torch.testing.assert_close(model.eval()(batch), expected)


@pytest.mark.parametrize("name, side", [("test_resnet", 64), ("test_vit", 160)])
def test_timm_is_the_mean_over_frames(name, side):
    pytest.importorskip("timm", reason=f"timm {WITHOUT}")
    shape = ClipShape(3, 1, 64, 64)
    model = build_outside(f"timm:{name}", shape, 5)
    assert_trains(model, shape)
    assert model.wanted.size == (side, side)
    model.eval()
    batch = clips(shape)
    features = [model.net(fit(batch[:, t : t + 1], model.wanted)[:, 0]) for t in range(3)]
    torch.testing.assert_close(model(batch), model.head(sum(features) / 3))
    torch.testing.assert_close(model(batch.flip(1)), model(batch))


def test_timm_model_that_needs_larger_frames_gets_its_own_size():
    pytest.importorskip("timm", reason=f"timm {WITHOUT}")
    with torch.device("meta"):
        assert build_outside("timm:inception_v3", TEMPORAL_SHAPE, 5).wanted.size == (299, 299)


def save_video_classifier(folder, kind="VideoMAE", **changes):
    transformers = pytest.importorskip("transformers", reason=f"transformers {WITHOUT}")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    sizes |= {"image_size": 32, "num_frames": 4, "patch_size": 16, "num_labels": 7} | changes
    if kind == "Vivit":
        sizes["tubelet_size"] = [2, 16, 16]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**sizes)
    model = getattr(transformers, f"{kind}ForVideoClassification")(config)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", ["VideoMAE", "Vivit", "Timesformer"])
def test_hf_loads_a_local_folder_with_a_new_classifier(kind, tmp_path, monkeypatch, caplog):
    saved = save_video_classifier(tmp_path / "model", kind)
    monkeypatch.chdir(tmp_path)
    model = build_outside("hf:./model", TEMPORAL_SHAPE, 5)
    assert not caplog.records
    assert_trains(model)
    assert model.wanted == Wanted(3, 4, (32, 32))
    theirs = dict(saved.named_parameters())
    kept = [name for name, p in model.net.named_parameters() if torch.equal(p, theirs[name])]
    assert set(theirs) - set(kept) == {"classifier.weight", "classifier.bias"}
    batch = clips()
    small = fit(batch, model.wanted)
    torch.testing.assert_close(model.eval()(batch), model.net(pixel_values=small).logits)


def test_hf_weights_in_half_precision_are_loaded_in_single(tmp_path):
    save_video_classifier(tmp_path).half().save_pretrained(tmp_path)
    assert {p.dtype for p in build_outside(f"hf:{tmp_path}", TEMPORAL_SHAPE, 5).parameters()} == {torch.float32}


def test_hf_backbone_that_would_stay_random_is_refused(tmp_path):
    save_video_classifier(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 24}))
    with pytest.raises(DataError, match=r"3 arrays below the classifier .* they would stay random"):
        build_outside(f"hf:{tmp_path}", TEMPORAL_SHAPE, 5)


def test_hf_damaged_weights(tmp_path):
    save_video_classifier(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match="the weights are damaged"):
        build_outside(f"hf:{tmp_path}", TEMPORAL_SHAPE, 5)


def test_hf_pickled_weights_are_refused(tmp_path):
    model = save_video_classifier(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match="safetensors"):
        build_outside(f"hf:{tmp_path}", TEMPORAL_SHAPE, 5)


def test_hf_code_of_a_repository_never_runs(tmp_path):
    save_video_classifier(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    theirs = {"AutoConfig": "own.Config", "AutoModelForVideoClassification": "own.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": theirs}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    with pytest.raises(UsageError, match="cannot be loaded"):
        build_outside(f"hf:{tmp_path}", TEMPORAL_SHAPE, 5)
    assert not (tmp_path / "ran").exists()


def test_hf_hub_that_cannot_be_reached(tmp_path):
    pytest.importorskip("transformers", reason=f"transformers {WITHOUT}")
    code = """
        from benchmark.models.outside import build_outside
        from benchmark.models.specs import TEMPORAL_SHAPE
        from tsgen.common.errors import UsageError
        try:
            build_outside("hf:nobody/nothing", TEMPORAL_SHAPE, 5)
        except UsageError as problem:
            print(problem)
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment
    )
    assert result.stdout.startswith("hf:nobody/nothing cannot be loaded: "), result.stderr
    assert "hf:./FOLDER" in result.stdout


OWN = """
    from torch import nn

    class Flat(nn.Sequential):
        def __init__(self, num_classes, pixels):
            super().__init__(nn.Flatten(), nn.Linear(pixels, num_classes))

    def build(num_classes):
        return Flat(num_classes, 20 * 64 * 64)

    def build_for(num_classes, shape):
        return Flat(num_classes, shape.frames * shape.channels * shape.height * shape.width)

    def build_words(num_classes):
        return "a model"

    def build_wrong(num_classes):
        return Flat(num_classes + 1, 20 * 64 * 64)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with the module own_models, which the current folder makes importable."""
    (tmp_path / "own_models.py").write_text(textwrap.dedent(OWN))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_models", raising=False)


@pytest.mark.parametrize("factory, shape", [
    ("build", TEMPORAL_SHAPE),
    ("build_for", TEMPORAL_SHAPE),
    ("build_for", ClipShape(3, 2, 8, 8)),
])  # fmt: skip
@pytest.mark.usefixtures("own")
def test_py_takes_a_factory_with_or_without_shape(factory, shape):
    model = build_outside(f"py:own_models:{factory}", shape, 5)
    assert_trains(model, shape)
    assert isinstance(model.net, nn.Sequential)


@pytest.mark.parametrize("name, message", [
    ("py:own_models:build_word", r"unknown factory in own_models 'build_word'. Did you mean 'build_words'\?"),
    ("py:own_models:build_words", "returned str; a factory returns a torch.nn.Module"),
    ("py:own_models:build_wrong", r"answers one clip with shape \(1, 6\); logits of shape \(1, 5\) are needed"),
    ("py:own_models", "does not say what to call; give py:package.module:factory"),
    ("py:no_such_module:build", "No module named 'no_such_module'; modules are looked for in the current folder"),
    ("hf:./nowhere", "there is no folder nowhere with a config.json"),
    ("keras:resnet", "unknown kind of model 'keras'. Allowed: torchvision, timm, hf, py"),
])  # fmt: skip
@pytest.mark.usefixtures("own")
def test_what_cannot_be_built_is_said(name, message):
    if name.startswith("hf"):
        pytest.importorskip("transformers", reason=f"transformers {WITHOUT}")
    with pytest.raises(UsageError, match=message):
        build_outside(name, TEMPORAL_SHAPE, 5)


@pytest.mark.usefixtures("own")
def test_model_that_fails_on_the_clip():
    with pytest.raises(UsageError, match=r"py:own_models:build fails on one clip .* = \(1, 3, 2, 8, 8\): RuntimeError"):
        build_outside("py:own_models:build", ClipShape(3, 2, 8, 8), 5)


@pytest.mark.parametrize("package, name, message", [
    ("torchvision", "torchvision:r3d_81", r"unknown video model of torchvision 'r3d_81'. Did you mean 'r3d_18'\?"),
    ("timm", "timm:resnet81", "unknown timm model 'resnet81'. Did you mean resnet18 or"),
])  # fmt: skip
def test_unknown_names_have_a_hint(package, name, message):
    pytest.importorskip(package, reason=f"{package} {WITHOUT}")
    with pytest.raises(UsageError, match=message):
        build_outside(name, TEMPORAL_SHAPE, 5)


def test_two_channels_cannot_become_three():
    pytest.importorskip("torchvision", reason=f"torchvision {WITHOUT}")
    with pytest.raises(UsageError, match="wants 3 channels and the clips have 2"):
        build_outside("torchvision:r3d_18", ClipShape(channels=2), 5)


@pytest.mark.parametrize("package", ["torchvision", "timm", "transformers"])
def test_package_that_is_not_installed(package, monkeypatch):
    """None in sys.modules is how Python itself marks a module that cannot be imported."""
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    kind = "hf" if package == "transformers" else package
    with pytest.raises(UsageError, match=rf"models of {package} need .* pip install 'recur-attend-convolve\[models\]'"):
        build_outside(f"{kind}:any", TEMPORAL_SHAPE, 5)
