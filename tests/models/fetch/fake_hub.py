"""A hub on the loopback interface: enough of the API for `snapshot_download`, and every way to misbehave."""

import hashlib
import json
import re
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests.patience import PATIENCE_S

LARGE_SUFFIXES = (".safetensors", ".bin")


@dataclass
class Repository:
    files: dict  # path -> bytes
    commit: str


@dataclass
class Asked:
    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class FakeHub:
    """What the server holds and how it behaves; `address` is what HF_ENDPOINT has to say."""

    repositories: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    statuses: dict = field(default_factory=lambda: defaultdict(list))  # path part -> [(status, headers), …] in turn
    break_after: dict = field(default_factory=lambda: defaultdict(list))  # file -> [bytes, …] in turn
    served_instead: dict = field(default_factory=dict)  # file -> other bytes than announced
    announced_sizes: dict = field(default_factory=dict)  # file -> size in the listing
    ignores_ranges: bool = False
    pause: threading.Event | None = None  # a transfer waits for it after its first half
    in_transfer: threading.Event = field(default_factory=threading.Event)

    def add(self, repository, files, *, commit=None):
        digest = hashlib.sha1(repr(sorted(files)).encode() + b"".join(files[path] for path in sorted(files)))
        self.repositories[repository] = Repository(dict(files), commit or digest.hexdigest())
        return self.repositories[repository].commit

    def add_folder(self, repository, folder, **more):
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return self.add(repository, {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}, **more)

    def gets(self, file_name):
        return [one for one in self.asked if one.method == "GET" and one.path.endswith(file_name)]

    def start(self):
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        return self

    def stop(self):
        if self.pause is not None:
            self.pause.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_arguments):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        path = unquote(urlsplit(self.path).path)
        authorization = self.headers.get("authorization")
        self.hub.asked.append(Asked(self.command, path, self.headers.get("Range"), authorization))
        for part, turns in self.hub.statuses.items():
            if part in f"{self.command} {path}" and turns:
                status, headers = turns[0][1] if turns[0][0] == "always" else turns.pop(0)
                return self.reply(status, b"{}", headers)
        if api := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path):
            return self.answer_api(*api.groups())
        if file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.answer_file(*file.groups())
        return self.reply(404, b"{}", {})

    def find(self, repository, revision):
        known = self.hub.repositories.get(repository)
        if known is None:
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", known.commit):
            self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            return known
        return None

    def answer_api(self, repository, kind, revision):
        known = self.find(repository, revision)
        if known is None:
            return
        if kind == "revision":
            siblings = [{"rfilename": path} for path in known.files]
            body = {"_id": "0", "id": repository, "modelId": repository, "sha": known.commit, "siblings": siblings}
        else:
            body = [self.listed(path, content) for path, content in known.files.items()]
        self.reply(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def listed(self, path, content):
        size = self.hub.announced_sizes.get(path, len(content))
        entry = {"type": "file", "path": path, "size": size, "oid": git_id(content)}
        if path.endswith(LARGE_SUFFIXES):
            entry["lfs"] = {"oid": sha256(content), "size": size, "pointerSize": 134}
        return entry

    def answer_file(self, repository, revision, path):
        known = self.find(repository, revision)
        if known is None:
            return
        if path not in known.files:
            self.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = known.files[path]
        is_large = path.endswith(LARGE_SUFFIXES)
        headers = {
            "ETag": f'"{sha256(content) if is_large else git_id(content)}"',
            "X-Repo-Commit": known.commit,
            "Accept-Ranges": "bytes",
        }
        if self.command == "HEAD":
            self.reply(200, b"", {**headers, "Content-Length": str(len(content))})
            return
        self.send_file(path, self.hub.served_instead.get(path, content), headers)

    def send_file(self, path, content, headers):
        start, status = 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked and not self.hub.ignores_ranges:
            start, status = int(asked[1]), 206
            headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        body = content[start:]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        breaks = self.hub.break_after[path]
        if breaks:
            self.wfile.write(body[: breaks.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            return
        if self.hub.pause is not None and path.endswith(LARGE_SUFFIXES):
            half = len(body) // 2
            self.wfile.write(body[:half])
            self.wfile.flush()
            self.hub.in_transfer.set()
            self.hub.pause.wait(PATIENCE_S)
            body = body[half:]
        self.wfile.write(body)

    def reply(self, status, body, headers):
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def git_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
