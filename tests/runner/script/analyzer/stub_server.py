"""A server with OpenAI's API that answers as a test wants: slowly, with garbage, with redirects, or for ever."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROFILE = {
    "name": "ELENA",
    "gender": "female",
    "ageRange": "30-40",
    "description": "A warm, low voice that takes its time.",
    "voiceTraits": ["warm", "low", "unhurried"],
    "summary": "A woman on a night train.",
}


def chat(text):
    """An answer of the API with this text."""
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def good(**changes):
    return 200, {}, chat(json.dumps({**PROFILE, **changes}))


class StubServer:
    """Gives `replies` in turn, the last one again and again: (status, headers, body), or what writes to a handler."""

    def __init__(self, *replies):
        self.replies, self.requests = list(replies), []
        self.stop = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stub.requests.append((self.path, json.loads(body)))
                reply = stub.replies.pop(0) if len(stub.replies) > 1 else stub.replies[0]
                with contextlib.suppress(OSError):
                    reply(self) if callable(reply) else self.answer(*reply)

            def answer(self, status, headers, body):
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def endless(self, handler):
        """A body without an end, as fast as it is taken."""
        handler.send_response(200)
        handler.end_headers()
        while not self.stop.is_set():
            handler.wfile.write(b'{"choices": "' + b"x" * 65_536)

    def dripping(self, handler):
        """A byte now and then, never an answer."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.stop.wait(0.05):
            handler.wfile.write(b"X")
            handler.wfile.flush()

    def half(self, handler):
        """An answer that breaks off."""
        handler.answer(200, {"Content-Length": "5000"}, chat("{")[:20])
        handler.close_connection = True

    def silent(self, handler):  # noqa: ARG002 - as the others
        """Nothing at all."""
        self.stop.wait(60)
