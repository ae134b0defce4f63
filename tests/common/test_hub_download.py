"""Downloading over HTTP from a server on loopback: every byte checked, resumed, atomic, offline from the cache."""

import hashlib
import json

import pytest

from tsgen.common.errors import DataError, UsageError
from tsgen.common.hub.download import check_copy, copy_release, download_release
from tsgen.common.hub.publish import publish_folder
from tsgen.common.sums import check_sums, write_sums

REPO = "user/shapes"
TRAIN = "data/a/train.h5"


@pytest.fixture
def release(hub, hub_server, make_release, tmp_path):
    folder = make_release(tmp_path / "release")
    publish_folder(folder, REPO, token=hub_server.TOKEN, endpoint=hub.url, say=lambda line: None, wait_factor=0.0)
    hub.requests.clear()
    return folder


@pytest.fixture
def download(hub, tmp_path):
    """``download(revision, ...)`` into ``tmp_path/cache``; ``download.said`` are the lines."""

    def run(revision=None, **options):
        run.said = []
        cache = tmp_path / "cache"
        return download_release(
            REPO, revision, cache, **{"endpoint": hub.url, "say": run.said.append, "wait_factor": 0.0, **options}
        )

    return run


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def list_again(hub, **changed):
    """The head of the repo with other files, its SHA256SUMS fitting them, under the same tag."""
    repo = hub.repos[REPO]
    files = {**repo.commits[repo.head], **{name: hub.add(content, large=False) for name, content in changed.items()}}
    repo.tags["v1.0.0"] = repo.commit(files)


def test_a_download_is_the_release_and_nothing_else(hub, release, download, tmp_path):
    folder = download("v1.0.0")
    assert contents(folder) == contents(release)
    assert folder == tmp_path / "cache" / "user--shapes" / "v1.0.0"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["v1.0.0", "v1.0.0.json"], "no leftovers"
    assert {method for method, _ in hub.requests} == {"GET"}


def test_a_second_call_asks_only_for_the_tag_and_the_hash_of_the_list_and_offline_nothing_at_all(
    hub, release, download
):
    first = download("v1.0.0")
    commit = hub.repos[REPO].head
    hub.requests.clear()
    assert download() == download("v1.0.0") == first
    of_repo = f"/api/datasets/{REPO}"
    assert [path for _, path in hub.requests] == [f"{of_repo}/refs", f"{of_repo}/tree/{commit}"] * 2
    hub.requests.clear()
    assert download("v1.0.0", offline=True) == download(None, offline=True) == download(commit) == first
    assert not hub.requests


def test_a_commit_is_a_revision_too(hub, release, download):
    commit = hub.repos[REPO].head
    assert download(commit).name == commit
    hub.requests.clear()
    download(commit)
    assert not hub.requests


def test_a_cut_answer_is_gone_on_with_from_its_last_byte(hub, hub_faults, release, download):
    hub.faults.append(hub_faults.Fault("GET", "train.h5", hub_faults.cut(100_000), times=2))
    folder = download("v1.0.0")
    assert contents(folder) == contents(release)
    size = len(contents(release)[TRAIN])
    served = [(status, n) for name, status, n in hub.served if name == TRAIN]
    assert served == [(206, 100_000), (206, 100_000), (206, size - 200_000)]


def test_a_download_that_was_given_up_goes_on_in_the_next_run(hub, hub_faults, release, download):
    hub.faults.append(hub_faults.Fault("GET", "train.h5", hub_faults.cut(100_000)))
    hub.faults.append(hub_faults.Fault("GET", "train.h5", hub_faults.status(503), first=2, times=99))
    with pytest.raises(DataError, match=r"fetching data/a/train.h5: the Hub answered 503"):
        download("v1.0.0")
    with pytest.raises(UsageError, match="not in the cache"):
        download("v1.0.0", offline=True)
    hub.faults.clear()
    hub.served.clear()
    assert contents(download("v1.0.0")) == contents(release)
    served = {name: n for name, _, n in hub.served}
    assert served[TRAIN] == len(contents(release)[TRAIN]) - 100_000
    assert "LICENSE" not in served and "data/a/test.h5" not in served, "whole files are not fetched again"


def test_a_server_that_gives_a_byte_at_a_time_is_given_up(hub, hub_faults, release, download):
    hub.faults.append(hub_faults.Fault("GET", "train.h5", hub_faults.cut(1), times=10**6))
    with pytest.raises(DataError, match="given up after 50 answers that ended too soon or came too slowly"):
        download("v1.0.0")
    assert len([name for name, _, _ in hub.served if name == TRAIN]) == 50


def test_an_answer_that_comes_too_slowly_is_asked_for_again(hub, release, download, monkeypatch):
    monkeypatch.setattr("tsgen.common.hub.fetch.Pace.is_too_slow", lambda self, n: True)
    assert contents(download("v1.0.0")) == contents(release)
    served = [status for name, status, _ in hub.served if name == TRAIN]
    assert len(served) > 1 and set(served) == {206}


def test_a_server_without_ranges_is_read_from_the_start(hub, hub_faults, release, download):
    whole = contents(release)[TRAIN]

    def no_ranges(answer):
        answer.status, answer.body = 200, whole
        answer.headers.pop("Content-Range")

    hub.faults.append(hub_faults.Fault("GET", "train.h5", hub_faults.cut(1000)))
    hub.faults.append(hub_faults.Fault("GET", "train.h5", no_ranges, first=2))
    assert contents(download("v1.0.0")) == contents(release)
    assert len([name for name, _, _ in hub.served if name == TRAIN]) == 2


def test_corruption_of_the_same_size_is_noticed_and_fetched_again_once(hub, hub_faults, release, download):
    hub.faults.append(hub_faults.Fault("GET", "train.h5", hub_faults.corrupt))
    assert contents(download("v1.0.0")) == contents(release)
    assert any("fetching it again" in line for line in download.said)


@pytest.mark.parametrize("name", [TRAIN, "SHA256SUMS"])
def test_lasting_corruption_names_the_file_and_leaves_no_folder(hub, hub_faults, release, download, tmp_path, name):
    hub.faults.append(hub_faults.Fault("GET", f"resolve/.*{name}", hub_faults.corrupt, times=99))
    with pytest.raises(DataError, match=f"{name}: fetched twice"):
        download("v1.0.0")
    assert not (tmp_path / "cache" / "user--shapes" / "v1.0.0").exists()


def test_more_bytes_than_announced_are_not_written(hub, release, download):
    hub.repos[REPO].commits[hub.repos[REPO].head][TRAIN].size -= 1
    with pytest.raises(DataError, match="more bytes come than the 307199 announced"):
        download("v1.0.0")


def test_hashes_that_contradict_each_other_are_refused_before_the_download(hub, release, download):
    blob = hub.repos[REPO].commits[hub.repos[REPO].head][TRAIN]
    blob.sha256 = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(DataError, match=f"{TRAIN}: the Hub and SHA256SUMS state different hashes"):
        download("v1.0.0")
    assert [name for name, _, _ in hub.served] == ["SHA256SUMS"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../x", "has an empty part, '.' or '..'"),
        ("/tmp/x", "is absolute"),
        ("a\\..\\x", "holds one of"),
        ("NUL", "the name of a device"),
        ("a/../../x", "has an empty part, '.' or '..'"),
        (".git/hooks/x", ".git"),
        ("DATA/a/train.h5", "take for one file|occurs twice"),
        ("あ" * 100, "has a part of more than 240 bytes"),
    ],
)
@pytest.mark.parametrize("listed_by", ["tree", "sums"])
def test_hostile_names_are_refused_and_nothing_is_written_outside(
    hub, release, download, tmp_path, monkeypatch, name, told, listed_by
):
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    if listed_by == "tree":
        list_again(hub, **{name: b"evil"})
    else:  # in the tree, too, but the check of that overlooks it
        monkeypatch.setattr("tsgen.common.hub.client.check_names", lambda names, where: None)
        line = f"{hashlib.sha256(b'evil').hexdigest()}  {name}\n"
        list_again(hub, **{name: b"evil", "SHA256SUMS": contents(release)["SHA256SUMS"] + line.encode()})
    with pytest.raises(DataError, match=told):
        download("v1.0.0")
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before
    written = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {path.name for path in written} <= {"SHA256SUMS"} and all("parts" in path.parts for path in written)


def test_what_the_list_does_not_name_is_not_taken(hub, release, download):
    list_again(hub, **{"extra.txt": b"not of the release"})
    assert contents(download("v1.0.0")) == contents(release)


def test_a_release_too_large_for_the_disk_is_refused_before_its_first_byte(hub, release, download):
    hub.repos[REPO].commits[hub.repos[REPO].head][TRAIN].size = 10**16
    with pytest.raises(UsageError, match="needs about 10000000"):
        download("v1.0.0")
    assert [name for name, _, _ in hub.served] == ["SHA256SUMS"]


def test_a_tag_that_was_moved_is_noticed(hub, release, download):
    download("v1.0.0")
    list_again(hub, LICENSE=b"other\n")
    with pytest.raises(DataError, match="a release must not change"):
        download("v1.0.0")


def test_a_damaged_cache_is_mended_online_and_refused_offline(hub, release, download):
    folder = download("v1.0.0")
    (folder / TRAIN).write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"is damaged: data/a/train\.h5: changed"):
        download("v1.0.0", offline=True)
    (folder / "stray").write_bytes(b"")
    hub.served.clear()
    assert contents(download("v1.0.0")) == contents(release)
    assert {name for name, _, _ in hub.served} == {"SHA256SUMS", TRAIN}
    assert not check_sums(folder)


@pytest.mark.parametrize("record_too", [False, True])
def test_a_cache_whose_list_was_written_anew_is_not_believed(hub, release, download, record_too):
    folder = download("v1.0.0")
    (folder / TRAIN).write_bytes(b"tampered")
    write_sums(folder)
    assert not check_sums(folder)
    if record_too:  # seen online alone, where the Hub says what the list is
        record = folder.with_name("v1.0.0.json")
        digest = hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
        record.write_text(json.dumps({**json.loads(record.read_text()), "sums_sha256": digest}))
    else:
        with pytest.raises(DataError, match="SHA256SUMS: not the one that was downloaded"):
            download("v1.0.0", offline=True)
    assert contents(download("v1.0.0")) == contents(release)
    assert any("is damaged (SHA256SUMS: not that of the Hub.)" in line for line in download.said)
    assert download("v1.0.0", offline=True) == folder


def test_a_cache_with_links_folders_for_files_or_without_its_list_is_mended(hub, release, download, tmp_path):
    folder = download("v1.0.0")
    (folder / "SHA256SUMS").unlink()
    (folder / "LICENSE").unlink()
    (folder / "LICENSE").symlink_to(tmp_path / "elsewhere")
    (folder / TRAIN).unlink()
    (folder / TRAIN).mkdir()
    assert contents(download(hub.repos[REPO].head)) == contents(release)
    assert not (tmp_path / "elsewhere").exists() and not (folder / "LICENSE").is_symlink()
    folder.with_name("v1.0.0.json").unlink()
    assert contents(download("v1.0.0")) == contents(release), "a lost record is written again"
    assert folder.with_name("v1.0.0.json").is_file()


@pytest.mark.parametrize(
    "answer", [b"[]]", b'[{"type": "file"}]', b'[{"type": "file", "path": "a", "size": "9", "oid": 1}]']
)
def test_an_answer_that_makes_no_sense_is_one_line(hub, hub_faults, release, download, answer):
    def nonsense(given):
        given.body = answer

    hub.faults.append(hub_faults.Fault("GET", "/tree/", nonsense))
    with pytest.raises(DataError, match="listing the files: the Hub's answer makes no sense"):
        download("v1.0.0")


def test_a_commit_without_the_list_is_no_release(hub, release, download):
    repo = hub.repos[REPO]
    files = dict(repo.commits[repo.head])
    files.pop("SHA256SUMS")
    repo.tags["v0.9.0"] = repo.commit(files)
    with pytest.raises(DataError, match="has no SHA256SUMS, so it is no release"):
        download("v0.9.0")
    lacking = {**repo.commits[repo.tags["v1.0.0"]]}
    lacking.pop(TRAIN)
    repo.tags["v0.9.1"] = repo.commit(lacking)
    with pytest.raises(DataError, match=r"lacks 1 files of its SHA256SUMS, as data/a/train\.h5"):
        download("v0.9.1")


def test_what_is_not_there_is_said_with_what_is(hub, release, download, monkeypatch):
    with pytest.raises(UsageError, match=r"no release v2\.0\.0\. Released: v1\.0\.0\."):
        download("v2.0.0")
    with pytest.raises(UsageError, match="has no dataset user/nothing"):
        download_release("user/nothing", "v1.0.0", endpoint=hub.url, say=print, wait_factor=0.0)
    hub.repos[REPO].tags = {"nightly": hub.repos[REPO].head}
    with pytest.raises(UsageError, match="no release yet"):
        download()
    with pytest.raises(UsageError, match=r"there: nothing"):
        download("v1.0.0", offline=True)
    with pytest.raises(UsageError, match="is no release; allowed"):
        download("main")


def test_a_private_release_opens_with_its_token_alone(hub, hub_server, release, download):
    hub.repos[REPO].private = True
    with pytest.raises(UsageError, match="it is private and your token does not open it"):
        download("v1.0.0")
    assert contents(download("v1.0.0", token=hub_server.TOKEN)) == contents(release)


def test_a_copy_is_the_release_and_never_replaces_something_else(release, download, tmp_path):
    folder = download("v1.0.0")
    copy_release(folder, tmp_path / "copy")
    copy_release(folder, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(release)
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="exists and is not this release"):
        copy_release(folder, tmp_path / "other")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "evil.py").write_text("not of the release")
    copy_release(folder, tmp_path / "second")
    assert contents(tmp_path / "second") == contents(release)
    (tmp_path / "second" / TRAIN).write_bytes(b"damaged")
    with pytest.raises(DataError, match="second is damaged"):
        copy_release(folder, tmp_path / "second")


def test_where_no_copy_can_go_is_known_before_a_download(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out in (tmp_path / "missing" / "copy", tmp_path / "file" / "copy"):
        with pytest.raises(UsageError, match="is no folder that can be written to"):
            check_copy(out)
    for out in (tmp_path / "link", tmp_path / "file", tmp_path):
        with pytest.raises(UsageError, match="exists and is not this release"):
            check_copy(out)
    check_copy(tmp_path / "copy")


def test_the_token_does_not_follow_a_redirect_to_another_server_and_ranges_do(
    hub, hub_faults, hub_server, release, download
):
    hub.repos[REPO].private = True
    with hub_server.running() as cdn:
        cdn.store, hub.cdn = hub.store, cdn.url
        cdn.faults.append(hub_faults.Fault("GET", "/store/", hub_faults.cut(50_000)))
        assert contents(download("v1.0.0", token=hub_server.TOKEN)) == contents(release)
        assert cdn.count("GET", "/store/") == 4 and not cdn.tokens
    assert hub.tokens == {f"Bearer {hub_server.TOKEN}"}
