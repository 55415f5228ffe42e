"""The part of the Hugging Face hub that pushing and pulling needs, on a loopback port. It takes all files as regular ones."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_tokenofsomebody1234"


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=lambda: ["0" * 40])


@dataclass
class Hub:
    """What lies there, by `models/owner/name` or `datasets/owner/name`."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)


@contextmanager
def serving_hub() -> Iterator[Hub]:
    """Serve until the block ends. Whoever has another token than `TOKEN` may do nothing, and sees it repeated."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _make_handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if not self._is_welcome():
                return
            path = self._path()
            if path == "/api/repos/create":
                self._create(json.loads(body))
            elif path == "/api/validate-yaml":
                self._send(200, {"errors": [], "warnings": []})
            elif "/preupload/" in path:
                files = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in json.loads(body)["files"]
                ]
                self._send(200, {"files": files})
            elif "/commit/" in path:
                self._commit(path.removeprefix("/api/").partition("/commit/")[0], body)
            else:
                self._send(404, {"error": f"no POST {path}"})

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if not self._is_welcome():
                return
            path = self._path()
            if path.startswith("/api/"):
                name, _, rest = path.removeprefix("/api/").partition("/revision/")
                name, _, tree = name.partition("/tree/")
                self._describe(name, is_tree=bool(tree), revision=rest or tree)
            else:
                name, _, rest = path.strip("/").partition("/resolve/")
                kind = name if name.startswith("datasets/") else f"models/{name}"
                self._give(kind, unquote(rest.partition("/")[2]))

        def _path(self) -> str:
            return urlsplit(self.path).path

        def _is_welcome(self) -> bool:
            told = self.headers["authorization"]
            hub.tokens.add(told)
            if told == f"Bearer {TOKEN}":
                return True
            self._send(401, {"error": f"Invalid credentials: {told}"})
            return False

        def _create(self, asked: dict[str, Any]) -> None:
            kind = f"{asked.get('type') or 'model'}s"
            name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            is_private = bool(asked.get("private")) or asked.get("visibility") == "private"
            hub.repositories[f"{kind}/{name}"] = Repository(private=is_private)
            place = name if kind == "models" else f"{kind}/{name}"
            self._send(200, {"url": f"{hub.url}/{place}", "name": name, "id": name})

        def _commit(self, name: str, body: bytes) -> None:
            found = hub.repositories[name]
            for line in filter(None, body.split(b"\n")):
                told = json.loads(line)
                if told["key"] == "file":
                    found.files[told["value"]["path"]] = base64.b64decode(told["value"]["content"])
            commit = hashlib.sha1(body, usedforsecurity=False).hexdigest()
            found.commits.append(commit)
            self._send(200, {"success": True, "commitOid": commit, "commitUrl": f"{hub.url}/{name}/commit/{commit}"})

        def _describe(self, name: str, *, is_tree: bool, revision: str) -> None:
            found = hub.repositories.get(name)
            if found is None or revision.partition("/")[0] not in ("", "main", *found.commits):
                code = "RepoNotFound" if found is None else "RevisionNotFound"
                self._send(404, {"error": f"{name}: {code}"}, {"X-Error-Code": code})
            elif is_tree:
                oids = {path: hashlib.sha1(data).hexdigest() for path, data in found.files.items()}
                entries = [
                    {"type": "file", "path": p, "size": len(found.files[p]), "oid": oid} for p, oid in oids.items()
                ]
                self._send(200, entries)
            else:
                siblings = [{"rfilename": path} for path in found.files]
                identity = {"id": name.partition("/")[2], "sha": found.commits[-1]}
                self._send(200, identity | {"private": found.private, "siblings": siblings, "tags": []})

        def _give(self, name: str, path: str) -> None:
            found = hub.repositories.get(name)
            if found is None or path not in found.files:
                code = "RepoNotFound" if found is None else "EntryNotFound"
                self._send(404, {}, {"X-Error-Code": code})
                return
            data = found.files[path]
            etag = f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"'
            self._send(200, data, {"ETag": etag, "X-Repo-Commit": found.commits[-1]})

        def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {**(headers or {}), "content-length": str(len(body))}.items():
                self.send_header(name, text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    return Handler
