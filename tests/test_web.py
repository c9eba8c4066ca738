"""Media over https: only from addresses that were judged, whole, in bounded time; and sixty tricks."""

import datetime
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from encoders.media.errors import MediaError, Reason
from encoders.media.limits import Limits
from pipeline.config import AllowConfig
from pipeline.sources import web
from pipeline.sources.locations import fetch

LIMITS = Limits(bytes=100)
HOSTS = ("good.example", "bucket")
ALLOW = AllowConfig(schemes=("file", "s3", "https"), hosts=HOSTS)


class Handler(BaseHTTPRequestHandler):
    asked: list = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append((self.path, self.headers["Host"]))
        name = self.path.partition("?")[0]
        status = {"/moved": 302, "/none": 404, "/broken": 500}.get(name, 200)
        self.send_response(status)
        if name == "/moved":
            self.send_header("Location", "/a")
        sizes = {"/a": 5, "/big": 101, "/short": 50}
        if name in sizes:
            self.send_header("Content-Length", str(sizes[name]))
        self.end_headers()
        if name == "/slow":
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)
        self.wfile.write(b"x" * {"/a": 5, "/big": 101, "/lies": 101, "/short": 20}.get(name, 0))

    def log_message(self, *args):
        pass


def certificate(folder):
    """A key and a certificate for localhost that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The port of an https server of this machine whose certificate is trusted."""
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.socket = context.wrap_socket(served.socket, server_side=True)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    Handler.asked.clear()
    yield served.server_port
    served.shutdown()
    served.server_close()


def of(port, name, tmp_path, **allow):
    hosts = (f"localhost:{port}",)
    allowed = AllowConfig(schemes=("https",), hosts=hosts, **{"private": True, **allow})
    return fetch(f"https://localhost:{port}{name}", tmp_path, LIMITS, allowed)


def refused(cell, root, allow=ALLOW):
    with pytest.raises(MediaError) as caught:
        fetch(cell, root, LIMITS, allow)
    return caught.value.reason


def test_answers(server, tmp_path):
    assert of(server, "/a?b=%2F..", tmp_path) == b"xxxxx"
    assert Handler.asked == [("/a?b=%2F..", f"localhost:{server}")]
    for name, reason in {
        "/none": Reason.NOT_FOUND,
        "/broken": Reason.FETCH_ERROR,
        "/moved": Reason.FETCH_ERROR,  # a redirect is not followed
        "/big": Reason.TOO_LARGE,
        "/lies": Reason.TOO_LARGE,  # no size stated
        "/short": Reason.FETCH_ERROR,  # more was stated than came
    }.items():
        with pytest.raises(MediaError) as caught:
            of(server, name, tmp_path)
        assert caught.value.reason == reason, name
    assert ("/a", f"localhost:{server}") not in Handler.asked


def test_an_allowed_name_of_this_machine_is_refused_before_anything_is_sent(server, tmp_path):
    with pytest.raises(MediaError, match=r"private network; set allow\.private") as caught:
        of(server, "/a", tmp_path, private=False)
    assert caught.value.reason == Reason.REFUSED
    assert Handler.asked == []


def test_a_name_server_that_changes_its_mind_is_asked_once(server, tmp_path, monkeypatch):
    """First a public address, then loopback: what was judged is what is connected to."""
    answers = iter(["203.0.113.7"])
    real, connected = socket.getaddrinfo, []
    monkeypatch.setattr(
        socket, "getaddrinfo",
        lambda host, *rest, **kw: [(2, 1, 6, "", (next(answers), 443))] if host == "localhost"
        else real(host, *rest, **kw),
    )  # fmt: skip
    monkeypatch.setattr(web, "is_public", lambda address: True)

    def connect(address, timeout):
        connected.append(address)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(MediaError) as caught:
        of(server, "/a", tmp_path, private=False)
    assert caught.value.reason == Reason.FETCH_ERROR
    assert connected == [("203.0.113.7", server)]


def test_a_certificate_of_another_name_is_refused(server, tmp_path):
    allow = AllowConfig(schemes=("https",), hosts=(f"127.0.0.1:{server}",), private=True)
    assert refused(f"https://127.0.0.1:{server}/a", tmp_path, allow) == Reason.FETCH_ERROR
    assert Handler.asked == []


def test_bytes_that_drip_are_cut_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "SECONDS", 0.5)
    with pytest.raises(MediaError) as caught:
        of(server, "/slow", tmp_path)
    assert caught.value.reason == Reason.FETCH_ERROR


def test_a_proxy_of_the_environment_is_not_asked(server, tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert of(server, "/a", tmp_path) == b"xxxxx"


PRIVATE = [
    *(
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
    ),
    *("169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1"),
    *(
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
    ),
    *("fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
    *("2002:7f00:1::", "2002:c0a8:101::", "2001:0:7f00:1::", "2001:db8::1", "ff02::1"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_in_every_disguise(address):
    assert not web.is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address):
    assert web.is_public(address)


TRICKS = [
    # user names, fragments and other signs that parsers take differently
    "https://good.example@evil.example/a", "https://evil.example#@good.example/a",
    "https://evil.example?@good.example/a", "https://evil.example\\@good.example/a",
    "https://good.example\\.evil.example/a", "https://good.example\\@evil.example:443/a",
    "https://user:secret@good.example/a", "https://:@evil.example/a", "https://@good.example.evil/a",
    "https://good.example%2f@evil.example/a", "https://good.example%00.evil.example/a",
    "https://good.example%23.evil.example/a", "https://good.example;evil.example/a",
    "https://good.example,evil.example/a", "https://good.example&evil.example/a",
    # white space and control characters
    "https://good.example /a", "https://good.example\t.evil.example/a", "https://good.example\n/a",
    "https://good.example\r\nHost: evil/a", "https://good.example/a\r\nX: y", " https://evil.example/a",
    "https://good\u200b.example/a", "https://good.example\u2028/a", "https://\x00good.example/a",
    # names that look alike, or end elsewhere
    "https://g\u00f6od.example/a", "https://\uff47ood.example/a", "https://good\u3002example/a",
    "https://good.example\u2100.evil/a", "https://good.example./a", "https://good.example.evil.example/a",
    "https://evilgood.example/a", "https://good.example-evil.example/a", "https://xn--good-.example/a",
    # this machine, private networks and metadata services, as numbers
    "https://127.0.0.1/a", "https://127.1/a", "https://2130706433/a", "https://0x7f000001/a",
    "https://0177.0.0.1/a", "https://0/a", "https://[::1]/a", "https://[::ffff:127.0.0.1]/a",
    "https://[::ffff:7f00:1]/a", "https://[0:0:0:0:0:0:0:1]/a", "https://[fe80::1%25eth0]/a",
    "https://169.254.169.254/latest/meta-data/", "https://[fd00:ec2::254]/", "https://2852039166/a",
    "https://metadata.google.internal/", "https://localhost/a", "https://localhost.localdomain/a",
    # other ports of an allowed host
    "https://good.example:22/a", "https://good.example:6379/a", "https://good.example:0443x/a",
    "https://good.example:99999/a", "https://good.example:-1/a",
    # other schemes
    "http://good.example/a", "HTTP://good.example/a", "ftp://good.example/a", "gopher://good.example/a",
    "data://text/plain;a", "dict://good.example/a", "file://evil.example/etc/passwd", "ldap://good.example",
    "memory://a", "jar:https://good.example/a", "://good.example/a", "github://good.example/a",
    "zip://a::https://good.example/a.zip", "simplecache::s3://bucket/a", "s3://bucket/a::file:///etc/passwd",
    "s3://bucket::https://evil.example/a", "filecache::https://good.example/a", "local:///etc/passwd",
    # half a URI
    "https:///a", "https://[good.example/a", "https://good.example]/a", "https://[]/a", "https://:443/a",
    "s3://other/a", "s3://BUCKET/a", "s3:///bucket/a", "s3://user@bucket/a", "gs://bucket/a",
]  # fmt: skip


def test_there_are_sixty_tricks():
    assert len(set(TRICKS)) >= 60


@pytest.mark.parametrize("uri", TRICKS, ids=range(len(TRICKS)))
def test_no_trick_leads_anywhere(tmp_path, monkeypatch, uri):
    """Refused from the text alone: no name is looked up and nothing is connected to."""

    def never(*_, **__):
        raise AssertionError(f"{uri!r} reached the network")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(socket, "create_connection", never)
    reason = refused(uri, tmp_path)
    assert reason in (Reason.REFUSED, Reason.NOT_FOUND)  # NOT_FOUND: taken for a local name
    if reason == Reason.NOT_FOUND:
        assert "://" not in uri


def test_nothing_remote_is_read_unless_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked up"))
    for uri in ("https://good.example/a", "s3://bucket/a", "gs://bucket/a"):
        assert refused(uri, tmp_path, AllowConfig()) == Reason.REFUSED
        assert refused(uri, tmp_path, AllowConfig(schemes=("https", "s3", "gs"))) == Reason.REFUSED


def test_local_media_can_be_confined_to_folders(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "a").write_bytes(b"good")
    (outside / "secret").write_bytes(b"bad")
    (inside / "link").symlink_to(outside / "secret")
    (inside / "folder").symlink_to(outside)
    (inside / "circle").symlink_to(inside / "circle")
    (outside / "to_a").symlink_to(inside / "a")
    allow = AllowConfig(folders=(str(inside),))
    assert fetch("a", inside, LIMITS, allow) == b"good"
    assert fetch(str(outside / "to_a"), inside, LIMITS, allow) == b"good"
    for cell in ("../out/secret", "link", "folder/secret", str(outside / "secret"), "/etc/passwd",
                 f"file://{outside}/secret", f"file://{inside}/../out/secret", "/proc/self/environ",
                 f"file://{inside}/%2e%2e/out/secret"):  # fmt: skip
        assert refused(cell, inside, allow) == Reason.REFUSED, cell
    assert refused("circle", inside, allow) in (Reason.FETCH_ERROR, Reason.REFUSED)
    assert fetch("link", inside, LIMITS, AllowConfig()) == b"bad"  # without folders: anywhere
