"""A Hugging Face Hub on this machine: files go up in one commit, and come down from it."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0" * 40


class _Handler(BaseHTTPRequestHandler):
    files: dict

    def log_message(self, *args):
        """Nothing is printed."""

    def _answer(self, body, headers=(), status=200):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if "/preupload/" in self.path:
            kinds = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(sent)["files"]
            ]
            self._answer(json.dumps({"files": kinds}).encode())
            return
        for line in map(json.loads, sent.splitlines()):
            if line["key"] == "file":
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        url = f"http://localhost:{self.server.server_port}/me/model/commit/{COMMIT}"
        self._answer(json.dumps({"commitUrl": url, "commitOid": COMMIT}).encode())

    def do_GET(self):
        name = self.path.partition("/resolve/")[2].partition("/")[2]
        if name not in self.files:
            self._answer(b"", status=404)
            return
        body = self.files[name]
        self._answer(body, {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET


@contextmanager
def local_hub():
    """The address of a hub, for as long as the block runs."""
    handler = type("Handler", (_Handler,), {"files": {}})
    server = ThreadingHTTPServer(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
