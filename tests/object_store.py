"""An S3-compatible server in this process that misbehaves as object stores do.

What is put is really put, by moto. Around it answers come late, are errors, or are lost after the
work was done, and listings show what was there a while ago.
"""

import io
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request, urlopen
from xml.sax.saxutils import escape

import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug import wrappers
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response


@dataclass
class Faults:
    """How often, of 1, a request fails with a 500, is slow, or loses its answer after a change.

    stale: seconds that listings lag behind.
    """

    errors: float = 0.0
    slow: float = 0.0
    lost: float = 0.0
    stale: float = 0.0


@dataclass
class Store:
    """The WSGI application. seen: requests by method, and faults by name."""

    faults: Faults = field(default_factory=Faults)
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._dice = random.Random(0)
        self._lock = threading.Lock()  # moto's conditional put is not atomic by itself
        # /bucket/key -> (time, XML of its entry in a listing, or None: it is gone)
        self._history: dict[str, list[tuple[float, str | None]]] = {}

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        request = wrappers.Request(environ)
        listing = request.method == "GET" and "list-type" in request.args
        self.seen["LIST" if listing else request.method] += 1
        if self._happens("slow"):
            time.sleep(0.3)
        body = request.get_data()
        environ["wsgi.input"] = io.BytesIO(body)  # moto reads it again
        if self._happens("errors"):
            text = "<Error><Code>InternalError</Code><Message>try again</Message></Error>"
            return Response(text, 500, content_type="application/xml")(environ, start)
        with self._lock:
            answer = Response.from_app(self._app, environ, buffered=True)
            self._note(request, body, answer)
        if listing and self.faults.stale:
            answer.set_data(self._listing(request))
        if request.method in ("PUT", "POST", "DELETE") and self._happens("lost"):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return answer(environ, start)

    def _happens(self, fault: str) -> bool:
        happens = self._dice.random() < getattr(self.faults, fault)
        self.seen[fault] += happens
        return happens

    def _note(self, request: wrappers.Request, body: bytes, answer: Response) -> None:
        if answer.status_code >= 300:
            return
        if request.method == "PUT" and request.path.count("/") > 1:
            when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
            key = escape(request.path.split("/", 2)[2])
            entry = f"<Contents><Key>{key}</Key><LastModified>{when}</LastModified>" \
                    f"<ETag>{answer.headers['ETag']}</ETag><Size>{len(body)}</Size></Contents>"  # fmt: skip
            self._history.setdefault(request.path, []).append((time.time(), entry))
        elif request.method == "DELETE":
            self._history.setdefault(request.path, []).append((time.time(), None))
        elif request.method == "POST" and "delete" in request.args:
            for key in re.findall("<Key>(.*?)</Key>", body.decode()):
                path = f"{request.path.rstrip('/')}/{key}"
                self._history.setdefault(path, []).append((time.time(), None))

    def _listing(self, request: wrappers.Request) -> str:
        """ListObjectsV2 as it would have been `stale` seconds ago."""
        then = time.time() - self.faults.stale
        prefix, delimiter = request.args.get("prefix", ""), request.args.get("delimiter", "")
        start = f"{request.path.rstrip('/')}/{prefix}"
        entries, folders = [], set()
        for path, history in sorted(self._history.items()):
            known = [entry for when, entry in history if when <= then]
            if path.startswith(start) and known and known[-1]:
                rest, folder, _ = path[len(start) :].partition(delimiter or "\0")
                if folder:
                    folders.add(
                        f"<CommonPrefixes><Prefix>{prefix}{rest}/</Prefix></CommonPrefixes>"
                    )
                else:
                    entries.append(known[-1])
        return (
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>false</IsTruncated>{''.join(entries)}{''.join(sorted(folders))}"
            "</ListBucketResult>"
        )


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """A line for every request is too much."""


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store with the bucket `bucket`; the environment of this process and its children points to it."""
    import s3fs

    store = Store()
    server = make_server("127.0.0.1", 0, store, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    settings = {
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-may-print",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    urlopen(Request(f"{settings['AWS_ENDPOINT_URL']}/moto-api/reset", method="POST")).close()
    s3fs.S3FileSystem().mkdir("bucket")
    yield store
    server.shutdown()
    thread.join()
    s3fs.S3FileSystem.clear_instance_cache()
