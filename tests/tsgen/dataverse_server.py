"""A small Dataverse on loopback for the tests: versions, pages of files, data files with ranges, and faults on demand.

It answers the three requests the client makes, in the form the guides of Dataverse 5 and 6 describe. Ingested tables
are listed as ``.tab`` with the checksum of their original, and served as ``.tab`` unless ``format=original`` is asked.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

DOI = "doi:10.7910/DVN/EDVAIY"


@dataclass
class Stored:
    """A file; ``faults`` are used up one a request of its bytes (see ``Dataverse.FAULTS``)."""

    path: str
    data: bytes
    original: str | None = None
    restricted: bool = False
    faults: list[str] = field(default_factory=list)
    entry: dict[str, Any] = field(default_factory=dict)
    requests: list[str | None] = field(default_factory=list)

    @property
    def archival(self) -> bytes:
        """What ingest makes of a table: tabs, quoted headings."""
        return b'"' + self.data.replace(b",", b"\t").replace(b"\n", b'"\n', 1)


class Dataverse:
    """``with Dataverse(files) as server: server.url``. ``pages`` False: a server that knows no limit and offset."""

    def __init__(self, files: list[Stored], *, doi: str = DOI, pages: bool = True, version: tuple[int, int] = (1, 1)):
        self.files, self.doi, self.pages, self.version = files, doi, pages, version
        self.listing_faults: list[str] = []
        self.listing_requests: list[str] = []
        self.redirect_to: str | None = None
        self.terms = ""
        self.licence: Any = {"name": "CC0 1.0", "uri": "http://creativecommons.org/publicdomain/zero/1.0"}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Dataverse:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def file(self, path: str) -> Stored:
        return next(stored for stored in self.files if path in (stored.path, stored.original))

    def listed(self, number: int) -> dict[str, Any]:
        stored = self.files[number]
        folder, _, name = stored.path.rpartition("/")
        md5 = hashlib.md5(stored.data, usedforsecurity=False).hexdigest()
        data = {
            "id": 100 + number,
            "filename": name,
            "contentType": "image/jpeg",
            "filesize": len(stored.data),
            "md5": md5,
            "checksum": {"type": "MD5", "value": md5},
        }
        if stored.original is not None:
            data |= {
                "contentType": "text/tab-separated-values",
                "filesize": len(stored.archival),
                "originalFileFormat": "text/csv",
                "originalFileSize": len(stored.data),
                "originalFileName": stored.original.rpartition("/")[2],
                "tabularData": True,
            }
        entry = {"label": name, "restricted": stored.restricted, "directoryLabel": folder, "dataFile": data}
        if not folder:
            del entry["directoryLabel"]
        data |= stored.entry.get("dataFile", {})
        return entry | {key: value for key, value in stored.entry.items() if key != "dataFile"}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if match := re.fullmatch(r"/api/access/datafile/(\d+)", parts.path):
            return self._data_file(request, int(match[1]) - 100, query)
        self.listing_requests.append(request.path)
        if self.listing_faults:
            fault = self.listing_faults.pop(0)
            return self._send(request, *((500, b"{}") if fault == "500" else (200, fault.encode())))
        number = f"{self.version[0]}.{self.version[1]}"
        match = re.fullmatch(r"/api/datasets/:persistentId/versions/([^/]+)(/files)?", parts.path)
        if match is None or query.get("persistentId") != self.doi or match[1] not in (number, ":latest-published"):
            return self._send(request, 404, b'{"status":"ERROR","message":"Dataset not found."}')
        if match[2]:
            entries = [self.listed(number) for number in range(len(self.files))]
            if self.pages and "limit" in query:
                offset = int(query["offset"])
                entries = entries[offset : offset + int(query["limit"])]
            return self._send(request, 200, json.dumps({"status": "OK", "data": entries}).encode())
        facts = {
            "versionNumber": self.version[0],
            "versionMinorNumber": self.version[1],
            "license": self.licence,
            "termsOfUse": self.terms,
        }
        return self._send(request, 200, json.dumps({"status": "OK", "data": facts}).encode())

    def _data_file(self, request: BaseHTTPRequestHandler, number: int, query: dict[str, str]) -> None:
        stored = self.files[number]
        asked = request.headers.get("Range")
        stored.requests.append(asked)
        fault = stored.faults.pop(0) if stored.faults else ""
        original = query.get("format") == "original"
        if stored.restricted:
            return self._send(request, 403, b'{"status":"ERROR"}')
        if fault == "gone":
            return self._send(request, 404, b"{}")
        if fault in ("500", "503", "429"):
            return self._send(request, int(fault), b"busy", {"Retry-After": "0"})
        if self.redirect_to is not None:
            return self._send(request, 303, b"", {"Location": self.redirect_to})
        if original and stored.original is None:
            return self._send(request, 404, b"not tabular")
        data = stored.data if original or stored.original is None else stored.archival
        if fault == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if fault == "longer":
            data += b"more"
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and fault != "no ranges" else 0
        status, headers = 200, {}
        if asked and fault != "no ranges":
            shown = 0 if fault == "wrong range" else start
            status, headers = 206, {"Content-Range": f"bytes {shown}-{len(data) - 1}/{len(data)}"}
        body = data[start:]
        sent = body[: len(body) // 2] if fault == "cut" else body
        return self._send(request, status, sent, headers, claimed=len(body))

    @staticmethod
    def _send(
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        claimed: int | None = None,
    ) -> None:
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        length = len(body) if claimed is None else claimed
        request.send_header("Content-Length", str(length))
        request.end_headers()
        request.wfile.write(body)
        if length != len(body):
            request.close_connection = True
