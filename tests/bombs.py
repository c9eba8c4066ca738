"""Small files that claim or unpack to something huge: {name: (kind, bytes)}."""

import functools
import io
import struct
import zlib

from PIL import Image

SIDE = 60_000


def _saved(form: str, **options) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(sink, form, **options)
    return sink.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, *chunks: bytes, data: bytes | None = None) -> bytes:
    rows = zlib.compress(bytes((1 + 3 * width) * height)) if data is None else data
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = b"".join(chunks)
    return b"\x89PNG\r\n\x1a\n" + head + body + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _deflated(size: int) -> bytes:
    """So many zeros, a thousandth of that long."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


def _patched(raw: bytes, at: int, value: bytes) -> bytes:
    return raw[:at] + value + raw[at + len(value) :]


def _tiff(
    entries: list[tuple[int, int, int, int]], *, loop: bool = False, tail: bytes = b""
) -> bytes:
    """entries: (tag, type, count, value)."""
    body = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    body += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return body + struct.pack("<I", 8 if loop else 0) + tail


def _tiff_of(width: int, height: int, *more: tuple[int, int, int, int], **options) -> bytes:
    basic = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
             (273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 100)]  # fmt: skip
    chosen = {entry[0]: entry for entry in [*basic, *more]}
    return _tiff(sorted(chosen.values()), **options)


def _icon(count: int, inner: bytes, side: int = 0) -> bytes:
    entry = struct.pack("<BBBBHHII", side, side, 0, 0, 1, 32, len(inner), 6 + 16 * min(count, 3000))
    return struct.pack("<HHH", 0, 1, count) + entry * min(count, 3000) + inner


def _bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def _webp_canvas() -> bytes:
    flags = struct.pack("<B3x", 0) + (SIDE - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", len(flags)) + flags
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _box(name: bytes, data: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I", 8 + len(data) if size is None else size) + name + data


def _jp2() -> bytes:
    ihdr = _box(b"ihdr", struct.pack(">IIHBBBB", SIDE, SIDE, 3, 7, 7, 0, 0))
    return (b"\0\0\0\x0cjP  \r\n\x87\n" + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
            + _box(b"jp2h", ihdr + _box(b"colr", struct.pack(">BBBI", 1, 0, 0, 16)))
            + _box(b"jp2c", b"\xff\x4f\xff\x51"))  # fmt: skip


def _jpeg() -> bytes:
    raw = _saved("JPEG")
    at = raw.index(b"\xff\xc0") + 5
    return _patched(raw, at, struct.pack(">HH", 65500, 65500))


def pictures() -> dict[str, bytes]:
    """Bombs among pictures."""
    large = _deflated(300 << 20)
    gif = _saved("GIF")
    frame = gif.index(b",", 13)
    psd = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, SIDE, SIDE, 8, 3) + bytes(14)
    tga = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 65535, 65535, 24, 0) + bytes(100)
    many = [(tag, 4, 1, 0) for tag in range(300, 60_000)]
    return {
        "png size": _png(SIDE, SIDE, data=b"x"),
        "png size 2^31": _png(2**31 - 1, 2**31 - 1, data=b"x"),
        "png one line": _png(2**31 - 1, 1, data=b"x"),
        "png pixels inflate": _png(10, 10, data=large),
        "png zTXt": _png(10, 10, _chunk(b"zTXt", b"key\0\0" + large)),
        "png iTXt": _png(10, 10, _chunk(b"iTXt", b"key\0\1\0\0\0" + large)),
        "png iCCP": _png(10, 10, _chunk(b"iCCP", b"key\0\0" + large)),
        "png many texts": _png(10, 10, *[_chunk(b"zTXt", b"k\0\0" + _deflated(1 << 20))] * 200),
        "png text": _png(10, 10, _chunk(b"tEXt", b"key\0" + bytes(8 << 20))),
        "png chunk of 2 GB": _png(10, 10)[:33] + struct.pack(">I", 2**31 - 1) + b"IDATx",
        "apng frames": _png(10, 10, _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
        "jpeg size": _jpeg(),
        "gif screen": _patched(gif, 6, struct.pack("<HH", 65535, 65535)),
        "gif frame": _patched(gif, frame + 5, struct.pack("<HH", 65535, 65535)),
        "bmp size": _bmp(SIDE, SIDE),
        "bmp size 2^31": _bmp(2**31 - 1, 2**31 - 1),
        "bmp upside down": _bmp(SIDE, -SIDE),
        "webp canvas": _webp_canvas(),
        "tiff size": _tiff_of(SIDE, SIDE),
        "tiff size 2^32": _tiff_of(2**32 - 1, 2**32 - 1),
        "tiff strips": _tiff_of(64, 48, (273, 4, 2**31, 200), (279, 4, 2**31, 200)),
        "tiff tag of 16 GB": _tiff_of(64, 48, (34675, 1, 2**32 - 1, 200)),
        "tiff doubles": _tiff_of(64, 48, (33550, 12, 2**29, 200)),
        "tiff many tags": _tiff(many),
        "tiff circle": _tiff_of(64, 48, loop=True),
        "tiff samples": _tiff_of(64, 48, (277, 3, 1, 65535)),
        "tiff deflate": _tiff_of(4000, 4000, (259, 3, 1, 8), (279, 4, 1, len(large)), tail=large),
        "ico png inside": _icon(1, _png(SIDE, SIDE, data=b"x")),
        "ico bmp inside": _icon(1, _bmp(SIDE, 2 * SIDE)[14:]),
        "ico 65535 pictures": _icon(65535, _saved("PNG")),
        "psd size": psd,
        "qoi size": b"qoif" + struct.pack(">IIBB", SIDE, SIDE, 3, 0) + bytes(100),
        "ppm size": b"P6 60000 60000 255\n" + bytes(100),
        "ppm digits": b"P6 " + b"9" * 100_000 + b" 1 255\n",
        "pgm plain": b"P2 60000 60000 255\n1 2 3",
        "tga size": tga,
        "jpeg 2000 size": _jp2(),
        "avif box": _box(b"ftyp", b"avif\0\0\0\0avifmif1") + _box(b"meta", b"", 2**32 - 1),
        "fits in gzip": large,
    }  # fmt: skip


def _wav(
    size: int, *, channels: int = 1, rate: int = 8000, riff: bytes = b"RIFF", extra: bytes = b""
) -> bytes:
    form = struct.pack(
        "<HHIIHH", 1, channels, rate, rate * channels * 2 & 0xFFFFFFFF, channels * 2 & 0xFFFF, 16
    )
    return (riff + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + extra + b"fmt " + struct.pack("<I", 16) + form
            + b"data" + struct.pack("<I", size) + bytes(100))  # fmt: skip


def _flac(samples: int) -> bytes:
    bits = (44100 << 44) | (1 << 41) | (15 << 36) | samples
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + bits.to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80" + len(info).to_bytes(3, "big") + info


def _mp4(table: bytes) -> bytes:
    head = _box(b"ftyp", b"isom\0\0\0\0isom")
    mvhd = _box(b"mvhd", bytes(12) + struct.pack(">II", 1000, 2**32 - 1) + bytes(80))
    mdhd = _box(b"mdhd", bytes(12) + struct.pack(">II", 1000, 2**32 - 1) + bytes(4))
    hdlr = _box(b"hdlr", bytes(8) + b"soun" + bytes(13))
    entry = _box(b"mp4a", bytes(6) + b"\0\1" + bytes(8) + struct.pack(">HHIHH", 2, 16, 0, 44100, 0))
    stsd = _box(b"stsd", bytes(4) + struct.pack(">I", 1) + entry)
    stbl = _box(b"stbl", stsd + table)
    media = _box(b"mdia", mdhd + hdlr + _box(b"minf", stbl))
    return head + _box(b"moov", mvhd + _box(b"trak", media)) + _box(b"mdat", bytes(100))


def sounds() -> dict[str, bytes]:
    """Bombs among sounds."""
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 2**60, 2**60, 2**59, 0)
    entries = {
        name: struct.pack(">I", 2**32 - 1)
        for name in (b"stts", b"stsc", b"stco", b"co64", b"ctts", b"stss")
    }
    tables = {f"mp4 {n.decode()}": _mp4(_box(n, bytes(4) + c)) for n, c in entries.items()}
    aiff = b"COMM" + struct.pack(">IhIh", 18, 1, 2**32 - 1, 16) + b"\x40\x0e\xac\x44" + bytes(6)
    ogg = b"OggS\0\2" + struct.pack("<QIII", 2**63 - 1, 1, 0, 0) + b"\xff" + b"\xff" * 255
    caf = b"caff\0\1\0\0desc" + struct.pack(">Q", 32) + struct.pack(">d", 44100.0) + b"lpcm"
    return {
        "wav 4 GB": _wav(0xFFFFFFF0),
        "wav of an unknown size": _wav(0x7FFFFFFF)[:44],
        "wav 2 GB": _wav(0x7FFFEFFF),
        "wav 65535 channels": _wav(0x7FFFEFFF, channels=65535),
        "wav rate": _wav(0x7FFFEFFF, rate=2**32 - 1),
        "wav chunk": b"RIFF\xff\xff\xff\xffWAVELIST" + struct.pack("<I", 2**32 - 1) + b"x",
        "wav format of 4 GB": b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 2**32 - 1) + b"x",
        "rf64 of 2^60": _wav(0xFFFFFFFF, riff=b"RF64", extra=ds64),
        "flac samples": _flac(2**36 - 1),
        "flac block": b"fLaC\x04\xff\xff\xff" + struct.pack("<II", 2**32 - 1, 2**32 - 1) + bytes(50),
        "flac picture": b"fLaC\x86\xff\xff\xff" + struct.pack(">II", 3, 2**32 - 1) + bytes(50),
        "aiff frames": b"FORM\xff\xff\xff\xffAIFF" + aiff + b"SSND\xff\xff\xff\xff" + bytes(50),
        "au size": b".snd" + struct.pack(">IIIII", 24, 2**31, 3, 44100, 1),
        "caf size": caf + bytes(20) + b"data" + struct.pack(">Q", 2**62) + bytes(50),
        "ogg page": ogg,
        "id3 of 256 MB": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(50),
        "id3 frame": b"ID3\4\0\0\x7f\x7f\x7f\x7fAPIC\x7f\x7f\x7f\x7f\0\0" + bytes(50),
        "mp4 stsz": _mp4(_box(b"stsz", bytes(4) + struct.pack(">II", 0, 2**32 - 1))),
        "mp4 one size": _mp4(_box(b"stsz", bytes(4) + struct.pack(">II", 2**31 - 1, 2**31 - 1))),
        **tables,
        "mp4 box of 2^63": _box(b"ftyp", b"isom\0\0\0\0isom") + struct.pack(">I4sQ", 1, b"moov", 2**63 - 1),
        "ape frames": b"MAC " + struct.pack("<HHIIII", 3990, 0, 52, 24, 2**32 - 1, 0) + bytes(200),
        "tta length": b"TTA1" + struct.pack("<HHHII", 1, 2, 16, 44100, 2**32 - 1) + bytes(50),
        "asf object": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c"
        + struct.pack("<QI", 2**63 - 1, 2**32 - 1) + bytes(50),
    }  # fmt: skip


def clips() -> dict[str, bytes]:
    """Bombs among videos."""
    ebml = b"\x1a\x45\xdf\xa3\x84\x42\x86\x81\x01"
    avih = struct.pack("<14I", 1, 0, 0, 0, 2**32 - 1, 0, 1, 0, SIDE, SIDE, 0, 0, 0, 0)
    flv = b"FLV\1\5\0\0\0\x09\0\0\0\0\x12\xff\xff\xff\0\0\0\0\0\0\0\2\0\x0aonMetaData\x08\xff\xff\xff\xff"
    return {
        "mkv segment": ebml + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xfe" + bytes(50),
        "mkv element": ebml + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xfe\x16\x54\xae\x6b"
        + b"\x01\x7f\xff\xff\xff\xff\xff\xff" + bytes(50),
        "avi frames": b"RIFF\xff\xff\xff\xffAVI LIST\xff\xff\xff\x7fhdrlavih\x38\0\0\0" + avih + bytes(50),
        "avi index": b"RIFF\xff\xff\xff\xffAVI idx1\xff\xff\xff\x7f" + bytes(50),
        "flv array": flv + bytes(50),
    }  # fmt: skip


@functools.cache
def all_of_them() -> dict[str, tuple[str, bytes]]:
    """Every bomb with the kind that it is given as."""
    kinds = {"image": pictures(), "audio": sounds(), "video": clips()}
    return {name: (kind, raw) for kind, own in kinds.items() for name, raw in own.items()}
