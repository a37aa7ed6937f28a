"""A receiver of notices: it keeps what it was sent, and can refuse, hang and come back."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.patience import wait_until


class Receiver:
    """An HTTP server on a free port; `status` is what it answers, None that it does not answer at all."""

    def __init__(self, status=204):
        self.status, self.requests, self.headers_of_answers = status, [], {}
        self._may_end = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                receiver.requests.append((self.path, dict(self.headers.items()), self.rfile.read(length)))
                if receiver.status is None:
                    receiver._may_end.wait()
                    return
                self.send_response(receiver.status)
                for name, value in receiver.headers_of_answers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self._may_end.set()
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, number):
        wait_until(lambda: len(self.requests) >= number, what=f"{number} notices")

    @property
    def notices(self):
        return [json.loads(body) for _, _, body in self.requests]

    @property
    def ids(self):
        return [headers["webhook-id"] for _, headers, _ in self.requests]
