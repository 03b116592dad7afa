"""A hub on the loopback interface that speaks what `huggingface_hub` asks, and misbehaves where a test wants it to."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
LARGE = (".safetensors", ".bin", ".onnx", ".gguf")


class Hub:
    """Repositories by name, each a folder. `faults` maps a part of a path to what happens there instead.

    A fault is a status (with a Retry-After), "html" (a login page), "cut" (the connection ends in the middle), or
    "wrong" (bytes of the right number, but others).
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.faults: dict[str, int | str] = {}
        self.asked: list[tuple[str, str, str]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self, body=True)

            def do_HEAD(self) -> None:
                hub._answer(self, body=False)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        self.asked.append((request.command, path, request.headers.get("Range", "")))
        fault = next((fault for part, fault in self.faults.items() if part in path), None)
        if isinstance(fault, int):
            self._send(request, fault, b"{}", {"Retry-After": "17"}, body=body)
        elif fault == "html":
            self._send(request, 200, b"<html>Log in to the network</html>", {"Content-Type": "text/html"}, body=body)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            self._list(request, found[1], tree=found[2] == "tree", body=body)
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(request, found[1], found[3], fault, body=body)
        else:
            self._send(request, 404, b"{}", {}, body=body)

    def _list(self, request: BaseHTTPRequestHandler, name: str, *, tree: bool, body: bool) -> None:
        folder = self.repositories.get(name)
        if folder is None:
            self._send(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)
            return
        files = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            file = {"path" if tree else "rfilename": path.relative_to(folder).as_posix(), "size": len(content)}
            file["oid" if tree else "blobId"] = git_hash(content)
            if path.suffix in LARGE:
                hash_ = hashlib.sha256(content).hexdigest()
                file["lfs"] = {"size": len(content), "pointerSize": 134, "oid" if tree else "sha256": hash_}
            files.append(file | ({"type": "file"} if tree else {}))
        answer = files if tree else {"id": name, "modelId": name, "sha": COMMIT, "siblings": files}
        self._send(request, 200, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body=body)

    def _file(self, request: BaseHTTPRequestHandler, name: str, file: str, fault: object, *, body: bool) -> None:
        folder = self.repositories.get(name)
        if folder is None or not (folder / file).is_file():
            code = "RepoNotFound" if folder is None else "EntryNotFound"
            self._send(request, 404, b"", {"X-Error-Code": code}, body=body)
            return
        content = (folder / file).read_bytes()
        is_large = (folder / file).suffix in LARGE
        etag = hashlib.sha256(content).hexdigest() if is_large else git_hash(content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(content))}
        if fault == "wrong":
            content = bytes(len(content))
        status, start = 200, 0
        if found := re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", "")):
            status, start = 206, int(found[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        content = content[start:]
        cut = len(content) // 2 if fault == "cut" and not start else 0 if fault == "cut" else None
        self._send(request, status, content, headers, body=body, cut=cut)

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        content: bytes,
        headers: dict[str, str],
        *,
        body: bool,
        cut: int | None = None,
    ) -> None:
        request.send_response(status)
        for key, value in headers.items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if body:
            request.wfile.write(content if cut is None else content[:cut])
        if body and cut is not None:
            request.close_connection = True


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
