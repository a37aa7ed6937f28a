"""A server and a runner as processes of their own, on an instance in a temporary folder, and plain HTTP to them."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from runner.config.instance import open_instance
from tests.patience import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[3]
SETTINGS = 'model = "draft"\nsettle_s = 0.0\nscan_interval_s = 0.2\nmin_free_bytes = 0\n'


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


PORTS_TRIED = 3


class Served:
    """One instance; `serve` and `run` are started and stopped as a user would."""

    def __init__(self, root, *, settings="", serve=""):
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        (root / "voicejobs.toml").write_text(f"{SETTINGS}{settings}\n[serve]\n{serve}\n", encoding="utf-8")
        self.port = self.wyoming_port = None
        self.server = self.runner = None
        self.output = root / "serve.log"

    # ---- processes ---------------------------------------------------------------------------------------------

    def start(self, *arguments, wait=True, **environment):
        """The server, on ports that are free."""
        for _ in range(PORTS_TRIED):
            self._begin(arguments, environment)
            if not wait:
                return self
            wait_until(lambda: self._says_its_port() or self.server.poll() is not None, what="a server that listens")
            if self.server.poll() is None or "is in use" not in self.output.read_text():
                break
            self.wyoming_port = free_port()  # another test's server was quicker
        assert self.server.poll() is None, self.output.read_text()
        self.port = int(self._says_its_port()[1])
        return self

    def _begin(self, arguments, environment):
        self.output.unlink(missing_ok=True)
        arguments = ["serve", "--port", str(self.port or 0), "--wyoming-port", str(self.wyoming_port or 0), *arguments]
        with self.output.open("wb") as output:
            self.server = self._process(arguments, output, environment)

    def start_runner(self, **environment):
        with (self.root / "run.log").open("ab") as output:
            self.runner = self._process(["run", "--quiet"], output, environment)
        wait_until(open_instance(self.root, environment={}).runner_is_active, what="a runner")
        return self

    def _process(self, arguments, output, environment):
        return subprocess.Popen(
            [sys.executable, "-m", "runner", "--root", str(self.root), *arguments],
            cwd=ROOT,
            env={**os.environ, "VOICEJOBS_TEST_ENGINES": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def _says_its_port(self):
        return re.search(r"http://[^ ]+:(\d+)\.", self.output.read_text(errors="replace"))

    def stop(self, *, number=signal.SIGTERM):
        """End both; returns the server's exit code."""
        code = None
        for process in (self.server, self.runner):
            if process is not None and process.poll() is None:
                process.send_signal(number)
        if self.server is not None:
            code = self.server.wait(PATIENCE_S)
        if self.runner is not None:
            self.runner.wait(PATIENCE_S)
        return code

    # ---- requests ----------------------------------------------------------------------------------------------

    def request(self, method, path, body=None, headers=None, *, content_type=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {**({"Content-Type": content_type} if content_type else {}), **(headers or {})}
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def post_job(self, job, *, name=None, headers=None):
        """A job file: a table as JSON, text as TOML."""
        path = f"/api/jobs?name={name}" if name else "/api/jobs"
        if isinstance(job, str):
            return self.request("POST", path, job.encode(), headers, content_type="application/toml")
        return self.request("POST", path, json.dumps(job), headers, content_type="application/json")

    def post_parts(self, parts, path="/api/jobs"):
        """`multipart/form-data`: (name, file name or None, bytes)."""
        boundary = "parts-of-a-test"
        body = b""
        for name, file_name, content in parts:
            file = f'; filename="{file_name}"' if file_name is not None else ""
            body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
            body += content + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        return self.request("POST", path, body, content_type=f"multipart/form-data; boundary={boundary}")

    def ended(self, job):
        """The receipt of a job, once it has ended."""
        end_s = time.monotonic() + PATIENCE_S
        while (answer := self.get(f"/api/jobs/{job}")).status == 200 and "schema" not in answer.json:
            assert time.monotonic() < end_s, answer.json
            time.sleep(0.02)
        return answer.json


def free_port():
    """A port that nothing listens at; another program could still take it."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def synthesize(text, **more):
    return {"kind": "synthesize", "voice": "ryan", "text": text, **more}


# ---- pages -------------------------------------------------------------------------------------------------------

HTML = {"Accept": "text/html"}


def page(served, path, **headers):
    """A page as a browser asks for it."""
    return served.request("GET", path, headers={**HTML, **headers})


def text_of(answer):
    return answer.body.decode()


def token_of(answer):
    return re.search(r'name="token" value="([0-9a-f]{64})"', text_of(answer))[1]


def send(served, path, *, token=None, headers=None, **fields):
    """A form as a browser sends it."""
    body = urlencode({"token": token, **fields}).encode()
    headers = {**HTML, **(headers or {})}
    return served.request("POST", path, body, headers, content_type="application/x-www-form-urlencoded")
