"""``tsgen publish``, ``tsgen download`` and ``d48dom publish`` as a user types them, against the loopback Hub."""

import json

import h5py
import pytest
from click.testing import CliRunner

from diving48_domains.hub_commands import publish as publish_domains
from tsgen.common.errors import UsageError
from tsgen.hub_commands import download, publish


@pytest.fixture
def typed(hub, hub_server, monkeypatch, tmp_path):
    """``typed(command, *words)`` -> (stdout, stderr); problems are raised."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setenv("MY_TOKEN", hub_server.TOKEN)
    monkeypatch.setattr("tsgen.common.hub.download.cache_folder", lambda: tmp_path / "cache")

    def run(command, *words):
        result = CliRunner().invoke(command, list(map(str, words)), standalone_mode=False)
        if result.exception:
            raise result.exception
        return result.stdout, result.stderr

    return run


def test_publish_and_download_tell_what_they_did(typed, make_release, tmp_path):
    release = make_release(tmp_path / "release")
    out, _ = typed(publish, release, "--repo", "user/shapes", "--dry-run")
    assert "nothing is sent" in out and "would send 8 files" in out and "data/a/train.h5" in out
    out, _ = typed(publish, release, "--repo", "user/shapes", "--token-env", "MY_TOKEN")
    assert "published user/shapes v1.0.0" in out and "hf:user/shapes@v1.0.0" in out
    out, _ = typed(publish, release, "--repo", "user/shapes")
    assert out.startswith("already published: user/shapes v1.0.0")
    out, err = typed(download, "--repo", "user/shapes", "--out", tmp_path / "copy")
    assert out.strip() == str(tmp_path / "copy") and "is complete and checked" in err
    out, err = typed(download, "--repo", "user/shapes", "--revision", "v1.0.0", "--offline")
    assert out.strip() == str(tmp_path / "cache" / "user--shapes" / "v1.0.0") and not err


def test_a_place_where_nothing_can_be_copied_is_told_before_the_download(typed, hub, tmp_path):
    with pytest.raises(UsageError, match="missing is no folder"):
        typed(download, "--repo", "user/shapes", "--out", tmp_path / "missing" / "copy")
    assert not hub.requests


def test_the_environment_may_name_a_release_too(typed, make_release, tmp_path, monkeypatch):
    from benchmark.data import DATA_DIR_VARIABLE, data_directory

    release = make_release(tmp_path / "release")
    typed(publish, release, "--repo", "user/shapes", "--token-env", "MY_TOKEN")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DATA_DIR_VARIABLE, "hf:user/shapes@v1.0.0")
    assert data_directory(None) == tmp_path / "cache" / "user--shapes" / "v1.0.0"
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(release))
    assert data_directory(None) == release
    assert data_directory(tmp_path / "other") == tmp_path / "other"
    assert not list(tmp_path.glob("hf:*"))
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(release / "LICENSE"))
    with pytest.raises(UsageError, match=r"RAC_DATA_DIR .*LICENSE cannot be created"):
        data_directory(None)


def test_a_departing_build_is_published_when_that_is_said(typed, make_release, tmp_path):
    small = {"release.json": b'{"version": "1.0.0", "departures": ["sizes 1/1/1"]}'}
    folder = make_release(tmp_path / "small", files=small)
    words = (folder, "--repo", "user/shapes", "--token-env", "MY_TOKEN")
    with pytest.raises(UsageError, match=r"sizes 1/1/1.*--allow-departures"):
        typed(publish, *words)
    assert typed(publish, *words, "--allow-departures")[0].startswith("published user/shapes v1.0.0")


def test_the_plan_as_json_is_json_alone(typed, make_release, tmp_path):
    out, _ = typed(publish, make_release(tmp_path / "release"), "--repo", "user/shapes", "--dry-run", "--json")
    plan = json.loads(out)
    assert plan["dry_run"] and plan["tag"] == "v1.0.0" and len(plan["send"]) == 8 and plan["commit"] is None


def test_what_is_missing_is_said(typed, make_release, tmp_path):
    with pytest.raises(UsageError, match="published no release of its own yet"):
        typed(download)
    with pytest.raises(UsageError, match="--original needs --out"):
        typed(download, "--original")
    with pytest.raises(UsageError, match="--repo, --offline: not for --original"):
        typed(download, "--original", "--repo", "user/shapes", "--offline")
    with pytest.raises(UsageError, match="NO_SUCH: this environment variable is not set"):
        typed(publish, make_release(tmp_path / "r"), "--repo", "user/shapes", "--token-env", "NO_SUCH")


def test_frames_of_diving48_are_not_published(typed, hub, make_release, tmp_path):
    plain = {"data/a/train.h5": None, "data/a/test.h5": None, "index/a/train.parquet": None, "a.jsonl": b"{}\n"}
    card = "---\nlicense: cc-by-4.0\n---\n"
    folder = make_release(tmp_path / "masks", card=card, files=plain)
    with h5py.File(folder / "masks.h5", "w") as file:
        file.attrs["format"] = "diving48-instances"
    make_release(folder, card=card, files=plain)
    words = ("--repo", "user/masks", "--token-env", "MY_TOKEN")
    assert "published user/masks" in typed(publish_domains, folder, *words)[0]
    asked = len(hub.requests)
    for name, content in {"clip.MP4": b"x", "store.h5": (folder / "masks.h5").read_bytes()[:-1]}.items():
        other = make_release(tmp_path / name, "1.0.1", card=card, files={**plain, f"sub/{name}": content})
        with pytest.raises(UsageError, match=f"1 files that may hold frames, as sub/{name}"):
            typed(publish_domains, other, *words)
        assert len(hub.requests) == asked
        assert "would send" in typed(publish_domains, other, "--with-frames", "--dry-run", *words)[0]
        asked = len(hub.requests)
