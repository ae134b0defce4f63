"""A small Hub on loopback: the endpoints that huggingface_hub 2.x uses for datasets, with faults to order.

Written from the client's source and the service's documentation, never compared with the service itself. Standard
library only. Repos live in memory; large files in ``store``, or with Xet in a folder that hf_xet serves itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_faults import Answer, Fault

LARGE = (".h5", ".parquet", ".bin")
TOKEN = "hf_loopbackSecretToken"
PLAIN = r"/datasets/(?P<repo>[^/]+/[^/]+)"
DATASET = "/api" + PLAIN


@dataclass
class Blob:
    """A file of a commit. ``sha256`` where it is a large one, kept in the store."""

    size: int
    git_sha1: str
    content: bytes | None = None
    sha256: str | None = None

    def entry(self, path: str) -> dict[str, Any]:
        lfs = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 134}} if self.sha256 else {}
        return {"type": "file", "path": path, "size": self.size, "oid": self.git_sha1, **lfs}


@dataclass
class HubRepo:
    private: bool = False
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    head: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, Blob]) -> str:
        state = json.dumps([self.head, len(self.commits), sorted((p, b.git_sha1) for p, b in files.items())])
        self.head = hashlib.sha1(state.encode()).hexdigest()
        self.commits[self.head] = files
        return self.head

    def resolve(self, revision: str) -> str | None:
        commit = {"main": self.head, **self.tags}.get(revision, revision)
        return commit if commit in self.commits else None


class LoopbackHub(ThreadingHTTPServer):
    """``requests``: (method, path) of all that came; ``faults``: what is to go wrong; ``received``: bytes
    of PUTs; ``served``: (file, status, bytes) of downloads; ``cdn``: a server that large files are redirected to.
    """

    daemon_threads = True

    def __init__(self, *, page: int = 1000, xet_folder: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.page, self.xet_folder = page, xet_folder
        self.repos: dict[str, HubRepo] = {}
        self.store: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.received: list[tuple[str, int]] = []
        self.served: list[tuple[str, int, int]] = []
        self.faults: list[Fault] = []
        self.tokens: set[str] = set()
        self.cdn: str | None = None
        self.before: dict[str, Callable[[], None]] = {}  # path pattern -> once, before that request is answered
        self.lock = threading.RLock()

    def count(self, method: str, pattern: str) -> int:
        return sum(m == method and re.search(pattern, p) is not None for m, p in self.requests)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        found = self.repos[repo]
        blobs = found.commits[str(found.resolve(revision))]
        return {path: self.content(blob) for path, blob in blobs.items()}

    def content(self, blob: Blob) -> bytes:
        return self.store[blob.sha256] if blob.sha256 else bytes(blob.content or b"")

    def add(self, content: bytes, *, large: bool) -> Blob:
        if not large:
            return Blob(len(content), git_sha1(content), content)
        sha256 = hashlib.sha256(content).hexdigest()
        self.store[sha256] = content
        return Blob(len(content), git_sha1(sha256.encode()), sha256=sha256)


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def running(**options: Any) -> Iterator[LoopbackHub]:
    hub = LoopbackHub(**options)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class RefusalError(Exception):
    def __init__(self, code: int, reason: str, error_code: str = "") -> None:
        super().__init__(reason)
        self.answer = Answer(code, json.dumps({"error": reason}).encode(), {"X-Error-Code": error_code})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait for each other's acknowledgement
    disable_nagle_algorithm = True
    server: LoopbackHub

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        self.query = parse_qs(urlsplit(self.path).query)
        self.sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub = self.server
        with hub.lock:
            hub.requests.append((self.command, path))
            hub.tokens |= {self.headers.get("Authorization") or ""} - {""}
            for pattern in [p for p in hub.before if re.search(p, path)]:
                hub.before.pop(pattern)()
            faults = [fault for fault in hub.faults if fault.strikes(self.command, path)]
            try:
                answer = self._route(path) if all(fault.acts for fault in faults) else Answer()
            except RefusalError as refusal:
                answer = refusal.answer
            for fault in faults:
                fault.change(answer)
        self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815 - names of http.server

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            if "/resolve/" in self.path:
                name = unquote(urlsplit(self.path).path).split("/", 6)[-1]
                self.server.served.append((name, answer.status, len(answer.body[: answer.sent_bytes])))
            self.wfile.write(answer.body[: answer.sent_bytes])
        self.wfile.flush()
        if answer.sent_bytes is not None:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass

    def _route(self, path: str) -> Answer:
        for method, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if self.command in method.split() and match:
                return action(self, **{name: unquote(value) for name, value in match.groupdict().items()})
        raise RefusalError(404, f"no such endpoint: {self.command} {path}")

    def _writer(self) -> None:
        given = self.headers.get("Authorization")
        if given is None:
            raise RefusalError(401, "Invalid username or password.")
        if given != f"Bearer {TOKEN}":
            raise RefusalError(403, "you have no write access")

    def _repo(self, name: str) -> HubRepo:
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            raise RefusalError(
                404 if self.headers.get("Authorization") else 401, "Repository not found", "RepoNotFound"
            )
        return repo

    def _commit(self, repo: HubRepo, revision: str) -> str:
        commit = repo.resolve(revision)
        if commit is None:
            raise RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def create(self) -> Answer:
        self._writer()
        asked = json.loads(self.sent)
        name = f"{asked.get('organization') or 'user'}/{asked['name']}"
        answer = {"url": f"{self.server.url}/datasets/{name}", "name": name, "id": name}
        if name in self.server.repos:
            return _json({**answer, "error": "You already created this dataset repo"}, 409)
        repo = self.server.repos[name] = HubRepo(private=asked.get("visibility") == "private")
        attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE)
        repo.commit({".gitattributes": self.server.add(attributes.encode(), large=False)})
        return _json(answer)

    def validate_yaml(self) -> Answer:
        if "license: nonsense" in json.loads(self.sent)["content"]:
            return _json({"errors": [{"message": "license is not valid"}], "warnings": []}, 400)
        return _json({"errors": [], "warnings": [{"message": "task_categories is empty"}]})

    def preupload(self, repo: str, revision: str) -> Answer:
        self._writer()
        found = self._repo(repo)
        there = found.commits[self._commit(found, revision)]
        files = []
        for file in json.loads(self.sent)["files"]:
            blob = there.get(file["path"])
            mode = "lfs" if file["path"].endswith(LARGE) else "regular"
            oid = (blob.sha256 or blob.git_sha1) if blob else None
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return _json({"files": files})

    def batch(self, repo: str) -> Answer:
        self._writer()
        self._repo(repo)
        objects = []
        for wanted in json.loads(self.sent)["objects"]:
            upload = {"upload": {"href": f"{self.server.url}/store/{wanted['oid']}"}}
            objects.append({**wanted, **({} if wanted["oid"] in self.server.store else {"actions": upload})})
        return _json({"transfer": "basic", "objects": objects})

    def xet_token(self, repo: str, revision: str) -> Answer:
        self._writer()
        if self.server.xet_folder is None:
            raise RefusalError(404, "no Xet here")
        expires = str(int(time.time()) + 3600)
        place = {"X-Xet-Cas-Url": f"local://{self.server.xet_folder}", "X-Xet-Access-Token": "xet"}
        facts = {"casUrl": place["X-Xet-Cas-Url"], "accessToken": "xet", "exp": int(expires)}
        return _json(facts, headers={**place, "X-Xet-Token-Expiration": expires})

    def put(self, oid: str) -> Answer:
        self.server.received.append((oid, len(self.sent)))
        if hashlib.sha256(self.sent).hexdigest() != oid:
            raise RefusalError(400, "the content has another hash")
        self.server.store[oid] = self.sent
        return Answer()

    def commit(self, repo: str, revision: str) -> Answer:
        self._writer()
        found = self._repo(repo)
        files = dict(found.commits[self._commit(found, revision)])
        for line in self.sent.splitlines():
            item = json.loads(line)
            value = item["value"]
            match item["key"]:
                case "header":
                    if value.get("parentCommit", found.head) != found.head:
                        raise RefusalError(412, "A commit has happened since. Please refresh and try again.")
                case "file":
                    files[value["path"]] = self.server.add(base64.b64decode(value["content"]), large=False)
                case "lfsFile":
                    known = value["oid"] in self.server.store
                    if not known and not self.server.xet_folder:
                        raise RefusalError(400, f"the object {value['oid']} was never sent")
                    sha1 = git_sha1(value["oid"].encode())
                    files[value["path"]] = Blob(value["size"], sha1, sha256=value["oid"])
                case "deletedFile":
                    if files.pop(value["path"], None) is None:
                        raise RefusalError(404, "A file with this name doesn't exist", "EntryNotFound")
        oid = found.commit(files)
        return _json({"commitUrl": f"{self.server.url}/datasets/{repo}/commit/{oid}", "commitOid": oid})

    def tag(self, repo: str, revision: str) -> Answer:
        self._writer()
        found = self._repo(repo)
        commit, name = self._commit(found, revision), json.loads(self.sent)["tag"]
        if name in found.tags:
            raise RefusalError(409, f"Tag {name} exists")
        found.tags[name] = commit
        return _json({})

    def refs(self, repo: str) -> Answer:
        found = self._repo(repo)
        heads = [{"name": "main", "ref": "refs/heads/main", "targetCommit": found.head}]
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in found.tags.items()]
        return _json({"branches": heads, "tags": tags, "converts": []})

    def info(self, repo: str, revision: str = "main") -> Answer:
        found = self._repo(repo)
        commit = self._commit(found, revision)
        facts = {"_id": "1", "id": repo, "sha": commit, "private": found.private, "tags": []}
        return _json({**facts, "siblings": [{"rfilename": path} for path in found.commits[commit]]})

    def tree(self, repo: str, revision: str, below: str = "") -> Answer:
        found = self._repo(repo)
        entries = _entries(found.commits[self._commit(found, revision)])
        start = int(self.query.get("cursor", ["0"])[0])
        inside = [entry for entry in entries if not below or entry["path"].startswith(below.strip("/") + "/")]
        if below and not inside:
            raise RefusalError(404, f"{below} does not exist", "EntryNotFound")
        if self.query.get("recursive", ["false"])[0].lower() != "true":
            depth = below.strip("/").count("/") + 1 if below else 0
            inside = [entry for entry in inside if entry["path"].count("/") == depth]
        end = start + self.server.page
        more = f'<{self.server.url}{self.path.split("?")[0]}?recursive=true&cursor={end}>; rel="next"'
        return _json(inside[start:end], headers={"Link": more if end < len(inside) else ""})

    def resolve(self, repo: str, revision: str, name: str) -> Answer:
        found = self._repo(repo)
        commit = self._commit(found, revision)
        blob = found.commits[commit].get(name)
        if blob is None:
            raise RefusalError(404, "Entry not found", "EntryNotFound")
        body, tag = self.server.content(blob), blob.sha256 or blob.git_sha1
        headers = {"X-Repo-Commit": commit, "ETag": f'"{tag}"', "Accept-Ranges": "bytes"}
        if blob.sha256:
            headers |= {"X-Linked-Etag": f'"{tag}"', "X-Linked-Size": str(blob.size)}
        if blob.sha256 and self.server.cdn:
            return Answer(302, b"", {**headers, "Location": f"{self.server.cdn}/store/{blob.sha256}"})
        return self._ranged(body, headers)

    def get(self, oid: str) -> Answer:
        return self._ranged(self.server.store[oid], {})

    def _ranged(self, body: bytes, headers: dict[str, str]) -> Answer:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not asked:
            return Answer(200, body, headers)
        start, end = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
        if start >= len(body):
            return Answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        return Answer(206, body[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(body)}"})


def _json(value: Any, code: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(code, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def _entries(files: dict[str, Blob]) -> list[dict[str, Any]]:
    folders = {path.rpartition("/")[0] for path in files} - {""}
    folders |= {folder[:i] for folder in folders for i, letter in enumerate(folder) if letter == "/"}
    listed = [{"type": "directory", "path": f, "size": 0, "oid": git_sha1(f.encode())} for f in folders]
    return sorted(listed + [blob.entry(path) for path, blob in files.items()], key=lambda entry: entry["path"])


ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate_yaml),
    ("POST", DATASET + "/preupload/(?P<revision>[^/]+)", _Handler.preupload),
    ("POST", PLAIN + r"\.git/info/lfs/objects/batch", _Handler.batch),
    ("GET", DATASET + "/xet-write-token/(?P<revision>[^/]+)", _Handler.xet_token),
    ("PUT", "/store/(?P<oid>[0-9a-f]{64})", _Handler.put),
    ("GET HEAD", "/store/(?P<oid>[0-9a-f]{64})", _Handler.get),
    ("POST", DATASET + "/commit/(?P<revision>[^/]+)", _Handler.commit),
    ("POST", DATASET + "/tag/(?P<revision>[^/]+)", _Handler.tag),
    ("GET", DATASET + "/refs", _Handler.refs),
    ("GET", DATASET, _Handler.info),
    ("GET", DATASET + "/revision/(?P<revision>[^/]+)", _Handler.info),
    ("GET", DATASET + "/tree/(?P<revision>[^/]+)(?P<below>(/.*)?)", _Handler.tree),
    ("GET HEAD", PLAIN + "/resolve/(?P<revision>[^/]+)/(?P<name>.+)", _Handler.resolve),
]
