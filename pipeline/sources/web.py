"""One medium over https, from a host that was allowed, and from nowhere else.

The address is looked up once and judged before anything is sent: a name that leads to this machine,
to a private network or to a cloud's metadata service is refused unless `allow.private` says that it
may. The connection goes to exactly that address, so that a second answer of the name server changes
nothing; the certificate is still that of the name. Redirects are not followed, proxies are not
asked, and one medium takes at most `SECONDS`, however slowly its bytes drip.
"""

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from http.client import HTTPException, HTTPSConnection
from urllib.parse import SplitResult

from encoders.media.errors import MediaError, Reason

PATIENCE = 30.0  # seconds without a byte
SECONDS = 600.0  # for one medium
_GONE = (404, 410)


def fetch(url: SplitResult, shown: str, most: int, *, private: bool = False) -> bytes:
    """The whole body of a GET.

    Args:
        url: split, with a host; nothing else parses it again.
        shown: how messages call it.
        most: bytes; a larger answer is refused, whether it says its size or not.
        private: addresses that are not public may be asked, too.

    Raises:
        MediaError: REFUSED, NOT_FOUND, TOO_LARGE or FETCH_ERROR.
    """
    port = url.port or 443
    connection = _Pinned(url.hostname or "", port, shown, private)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        with _deadline(connection):
            connection.request("GET", target, headers={"User-Agent": "polyfuse"})
            answer = connection.getresponse()
            if answer.status != 200:
                reason = Reason.NOT_FOUND if answer.status in _GONE else Reason.FETCH_ERROR
                raise MediaError(reason, f"{shown} answers {answer.status}")
            stated = answer.length or 0
            content = answer.read(most + 1) if stated <= most else b""
            if max(stated, len(content)) > most:
                raise MediaError(
                    Reason.TOO_LARGE, f"{shown} has more bytes than limits.bytes, {most}"
                )
            if len(content) < stated:
                raise MediaError(Reason.FETCH_ERROR, f"{shown} ends too early")
            return content
    except (OSError, HTTPException, ValueError) as err:
        raise MediaError(Reason.FETCH_ERROR, f"can't fetch {shown}: {type(err).__name__}") from err
    finally:
        connection.close()


class _Pinned(HTTPSConnection):
    """Connects to the address that was judged; the certificate is checked against the name."""

    def __init__(self, host: str, port: int, shown: str, private: bool) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=PATIENCE, context=self._tls)
        self._shown = shown
        self._private = private

    def connect(self) -> None:
        found = addresses(self.host, self.port, self._shown, private=self._private)
        for address in found:
            try:
                raw = socket.create_connection((address, self.port), self.timeout)
                break
            except OSError:
                if address == found[-1]:
                    raise
        self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)


def addresses(host: str, port: int, shown: str, *, private: bool = False) -> list[str]:
    """The addresses of a host, every one of them being public.

    Raises:
        MediaError: REFUSED where one is not; FETCH_ERROR for a name that is not known.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as err:
        raise MediaError(Reason.FETCH_ERROR, f"can't fetch {shown}: no address of {host}") from err
    numbers = list(dict.fromkeys(str(item[4][0]) for item in found))
    if not private and not all(map(is_public, numbers)):
        raise MediaError(
            Reason.REFUSED,
            f"{shown}: {host} is an address of this machine or of a private network; "
            "set allow.private: true if it is meant to be read",
        )
    return numbers


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where it hides one that is not."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        hidden = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _TRANSLATED:
            hidden = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if hidden is not None:
            return is_public(str(hidden))
    return ip.is_global and not ip.is_multicast


_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses behind a translator, RFC 6052


@contextlib.contextmanager
def _deadline(connection: HTTPSConnection) -> Iterator[None]:
    """Cut the connection when the time is over, whatever it is doing.

    Raises:
        TimeoutError: it was cut; what was read may look like a whole answer.
    """
    over = threading.Event()

    def cut() -> None:
        over.set()
        with contextlib.suppress(OSError, AttributeError):  # not connected yet, or not any more
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(SECONDS, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if over.is_set():
            raise TimeoutError
