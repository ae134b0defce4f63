"""Publishing over HTTP to a server on loopback: one commit, read back, the tag last; and all that goes wrong."""

import json

import pytest

from tsgen.common.errors import DataError, UsageError
from tsgen.common.hub.publish import publish_folder

REPO = "user/shapes"


@pytest.fixture
def publish(hub, hub_server):
    """``publish(folder, ...)`` as the owner of the repo; ``publish.said`` are the lines."""

    def run(folder, version=None, **options):
        run.said = []
        options = {"token": hub_server.TOKEN, **options}
        return publish_folder(folder, REPO, version, endpoint=hub.url, say=run.said.append, wait_factor=0.0, **options)

    return run


@pytest.fixture
def release(make_release, tmp_path):
    return make_release(tmp_path / "release")


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_published_release_has_the_files_of_the_folder_and_a_tag_set_last(hub, publish, release):
    plan = publish(release)
    repo = hub.repos[REPO]
    there = hub.files(REPO, "v1.0.0")
    there.pop(".gitattributes")
    assert there == contents(release)
    assert repo.tags == {"v1.0.0": repo.head} and plan.commit == repo.head and len(repo.commits) == 2
    posts = [path for method, path in hub.requests if method == "POST"]
    assert posts[-1].endswith(f"/tag/{repo.head}")
    assert any("task_categories is empty" in line for line in publish.said), "the Hub's remarks are passed on"


def test_a_dry_run_needs_no_token_and_writes_nothing(hub, publish, release):
    plan = publish(release, dry_run=True, token=None)
    assert plan.creates_repo and "data/a/train.h5" in plan.send and not plan.published
    assert plan.send_bytes == sum(len(content) for content in contents(release).values())
    assert {method for method, _ in hub.requests} == {"GET"} and not hub.repos
    json.dumps(plan.to_json())


def test_only_what_differs_is_sent_and_what_is_gone_is_removed(hub, publish, release, make_release, tmp_path):
    publish(release)
    sent = len(hub.received)
    newer = make_release(
        tmp_path / "newer", "1.1.0", files={"LICENSE": None, "data/a/new.h5": b"new" * 99, "data/a/test.h5": b"z" * 99}
    )
    dry = publish(newer, dry_run=True)
    assert dry.delete == ("LICENSE",) and "data/a/train.h5" in dry.unchanged
    assert set(dry.send) == {"release.json", "SHA256SUMS", "data/a/new.h5", "data/a/test.h5"}
    publish(newer)
    assert len(hub.received) == sent + 2
    assert set(hub.files(REPO)) == {*contents(newer), ".gitattributes"}
    assert "LICENSE" in hub.files(REPO, "v1.0.0"), "the older release stays what it was"


def test_a_repo_of_something_else_is_not_emptied(hub, hub_server, publish, release):
    other = hub.repos[REPO] = hub_server.HubRepo()
    other.commit({"thesis.bin": hub.add(b"years of work", large=True)})
    with pytest.raises(UsageError, match=r"holds 1 other files, as thesis\.bin, and no SHA256SUMS: it is no release"):
        publish(release)
    other.commit({"README.md": hub.add(b"made on the website", large=False)})
    publish(release)


def test_a_folder_that_departs_from_its_release_is_published_only_on_demand(hub, publish, make_release, tmp_path):
    manifest = {"version": "1.0.0", "departures": ["digits embedded\x1b[31m instead of mnist"]}
    folder = make_release(tmp_path / "other", files={"release.json": json.dumps(manifest).encode()})
    for dry_run in (True, False):
        with pytest.raises(UsageError, match=r"digits embedded\?\[31m instead of mnist\).*--allow-departures"):
            publish(folder, dry_run=dry_run)
    assert not hub.requests
    publish(folder, dry_run=True, allow_departures=True)
    assert publish.said == [f"note: {folder} is not the release 1.0.0 itself: digits embedded?[31m instead of mnist"]
    publish(folder, allow_departures=True)
    assert "v1.0.0" in hub.repos[REPO].tags
    other = make_release(tmp_path / "odd", files={"release.json": b'{"version": "1.0.0", "departures": "small"}'})
    with pytest.raises(UsageError, match="'small'"):
        publish(other)


def test_a_tag_is_that_of_the_version_the_release_states(hub, publish, release, make_release, tmp_path):
    with pytest.raises(UsageError, match=r"--version 2\.0\.0: .*release\.json states version '1\.0\.0'"):
        publish(release, "2.0.0")
    assert not hub.requests
    assert publish(release, "1.0.0", dry_run=True).tag == "v1.0.0"
    bare = make_release(tmp_path / "bare", files={"release.json": b"{}"})
    assert publish(bare, "2.0.0", dry_run=True).tag == "v2.0.0"


def test_a_private_release_never_lands_in_a_public_repo(hub, publish, release, make_release, tmp_path):
    publish(release)
    newer = make_release(tmp_path / "newer", "1.0.1")
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="exists and is public, which --private does not change"):
            publish(newer, private=True, dry_run=dry_run)
    assert list(hub.repos[REPO].tags) == ["v1.0.0"]
    hub.repos[REPO].private = True
    publish(newer, private=True)
    assert "v1.0.1" in hub.repos[REPO].tags


def test_a_repo_that_was_not_made_private_is_sent_nothing(hub, hub_server, publish, release):
    def somebody_else():  # makes it public between the look and the creation
        hub.repos[REPO] = hub_server.HubRepo()
        hub.repos[REPO].commit({})

    hub.before["repos/create"] = somebody_else
    with pytest.raises(DataError, match="was to be private, but the Hub says it is public"):
        publish(release, private=True)
    assert not hub.received and not hub.repos[REPO].tags


def test_publishing_again_does_nothing_and_a_tag_never_moves(hub, publish, release, make_release, tmp_path):
    publish(release)
    before = len(hub.requests)
    assert publish(release, token=None).published
    assert {method for method, _ in hub.requests[before:]} == {"GET"}
    changed = make_release(tmp_path / "changed", files={"LICENSE": b"other\n"})
    with pytest.raises(UsageError, match=r"v1\.0\.0 is published, with other files: .*raise the version"):
        publish(changed)
    assert len(hub.repos[REPO].commits) == 2


def test_an_interrupted_upload_goes_on_where_it_stopped(hub, hub_faults, publish, release):
    hub.faults.append(hub_faults.Fault("PUT", "/store/", hub_faults.status(400), first=3, acts=False))
    with pytest.raises(UsageError, match="answered 400"):
        publish(release)
    assert "v1.0.0" not in hub.repos[REPO].tags
    arrived = set(hub.store)
    before = len(hub.received)
    publish(release)
    assert not arrived & {oid for oid, _ in hub.received[before:]}, "what arrived was sent again"
    assert hub.repos[REPO].tags


def test_trouble_of_the_service_is_waited_out(hub, hub_faults, publish, release):
    for path in ("/refs", "repos/create", "/tag/"):
        method = "GET" if path == "/refs" else "POST"
        hub.faults.append(hub_faults.Fault(method, path, hub_faults.status(503), times=2, acts=False))
    publish(release)
    assert hub.repos[REPO].tags == {"v1.0.0": hub.repos[REPO].head}


def test_a_commit_whose_answer_was_lost_is_not_made_twice(hub, hub_faults, publish, release):
    hub.faults.append(hub_faults.Fault("POST", "/commit/", hub_faults.status(500)))
    publish(release)
    assert hub.count("POST", "/commit/") == 1 and len(hub.repos[REPO].commits) == 2


def test_lasting_trouble_is_one_line_and_leaves_no_tag(hub, hub_faults, publish, release):
    hub.faults.append(hub_faults.Fault("POST", "/preupload/", hub_faults.status(404), times=99))
    with pytest.raises(UsageError, match=r"user/shapes, sending LICENSE and others: the Hub answered 404"):
        publish(release)
    hub.faults[:] = [hub_faults.Fault("GET", "/refs", hub_faults.status(500), times=99)]
    with pytest.raises(DataError, match="answered 500: it is in trouble"):
        publish(release)
    assert not hub.repos[REPO].tags


def test_a_commit_of_somebody_else_in_between_is_not_overwritten(hub, publish, release, make_release, tmp_path):
    publish(release)
    newer = make_release(tmp_path / "newer", "1.0.1", files={"LICENSE": b"freer\n"})
    repo = hub.repos[REPO]

    def somebody_else():
        repo.commit({**repo.commits[repo.head], "note.txt": hub.add(b"mine", large=False)})

    hub.before["/commit/"] = somebody_else
    with pytest.raises(UsageError, match="answered 412: somebody else changed the repo"):
        publish(newer)
    assert hub.files(REPO)["note.txt"] == b"mine" and "v1.0.1" not in repo.tags


@pytest.mark.parametrize("name", ["data/a/train.h5", "README.md"])
def test_what_reads_back_as_something_else_gets_no_tag(hub, publish, release, name):
    def spoil():
        repo = hub.repos[REPO]
        repo.commits[repo.head][name] = hub.add(b"!" * len(contents(release)[name]), large=name.endswith(".h5"))

    publish(release, dry_run=True)
    hub.before["/tree/"] = spoil  # the first listing after the commit
    with pytest.raises(DataError, match=f"is not what was sent, so it gets no tag: {name} has another hash"):
        publish(release)
    assert not hub.repos[REPO].tags


def test_folders_that_are_no_finished_release_are_refused_before_anything_is_asked(
    hub, publish, make_release, release, tmp_path
):
    with pytest.raises(UsageError, match="no finished release"):
        publish(tmp_path)
    (release / "LICENSE").write_bytes(b"fr33\n")
    with pytest.raises(DataError, match="LICENSE: changed"):
        publish(release)
    bad = make_release(tmp_path / "bad", card="---\nlicense: nonsense\n---\n")
    with pytest.raises(UsageError, match=r"would refuse the card .* license 'nonsense'"):
        publish(bad)
    with pytest.raises(UsageError, match="has no README"):
        publish(make_release(tmp_path / "bare", files={"README.md": None}))
    latin = make_release(tmp_path / "latin", files={"README.md": b"---\nlicense: mit\n---\n\xfc\n"})
    with pytest.raises(UsageError, match=r"README\.md is not UTF-8 text"):
        publish(latin)
    with pytest.raises(UsageError, match="states no version; give --version"):
        publish(make_release(tmp_path / "nameless", files={"release.json": b"{}"}))
    assert not hub.requests


def test_no_error_ever_shows_the_token(hub, hub_faults, hub_server, publish, release, monkeypatch):
    def gossip(answer):
        answer.status, answer.body = 403, json.dumps({"error": f"{hub_server.TOKEN} may not\x1b[2J"}).encode()

    hub.faults.append(hub_faults.Fault("POST", "repos/create", gossip, acts=False))
    with pytest.raises(UsageError, match=r"answered 403: the token may not do this.*\*\*\* may not") as caught:
        publish(release)
    assert str(caught.value).isprintable()
    assert hub_server.TOKEN not in repr(caught.value) and caught.value.__cause__ is None
    with pytest.raises(UsageError, match="publishing needs a token"):
        publish(release, token=None)
    with pytest.raises(UsageError, match="answered 403"):
        publish(release, token="hf_another")


def test_an_unreachable_or_forbidden_network_is_one_line(hub, publish, release, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set"):
        publish(release)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.shutdown()
    hub.server_close()
    with pytest.raises(UsageError, match="cannot be reached"):
        publish(release)


def test_a_private_repo_is_created_private_and_long_listings_are_read_to_their_end(hub, publish, release):
    hub.page = 3
    publish(release, private=True)
    assert hub.repos[REPO].private and hub.count("GET", "/tree/") > 2
    publish(release, private=True)
