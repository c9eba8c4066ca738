"""What the first bytes of a file claim: to say why it was refused, not to choose a decoder."""

from typing import NamedTuple

from encoders.media.errors import MediaError, Reason


class Look(NamedTuple):
    """family: "picture" or "media" for what we read, "other" for what we only know by name."""

    family: str
    name: str


# (offset, mark, family, name); the first that matches wins.
_MARKS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "picture", "a PNG picture"),
    (0, b"\xff\xd8\xff", "picture", "a JPEG picture"),
    (0, b"GIF8", "picture", "a GIF picture"),
    (0, b"BM", "picture", "a BMP picture"),
    (0, b"II*\0", "picture", "a TIFF picture"),
    (0, b"MM\0*", "picture", "a TIFF picture"),
    (8, b"WEBP", "picture", "a WebP picture"),
    (0, b"\0\0\0\x0cjP  ", "picture", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "picture", "a JPEG 2000 picture"),
    (4, b"ftypavif", "picture", "an AVIF picture"),
    (4, b"ftypavis", "picture", "an AVIF picture"),
    (0, b"\0\0\1\0", "picture", "an ICO picture"),
    (0, b"8BPS", "picture", "a PSD picture"),
    (0, b"qoif", "picture", "a QOI picture"),
    *((0, b"P%d" % digit, "picture", "a PNM picture") for digit in range(1, 7)),
    *(
        (4, b"ftyp" + brand, "other", "a HEIF picture (convert it to JPEG, PNG or AVIF)")
        for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
    ),
    (0, b"\xff\x0a", "other", "a JPEG XL picture"),
    (0, b"\0\0\0\x0cJXL ", "other", "a JPEG XL picture"),
    (0, b"DDS ", "other", "a DDS texture"),
    (0, b"icns", "other", "an ICNS icon"),
    (0, b"BLP1", "other", "a BLP texture"),
    (0, b"BLP2", "other", "a BLP texture"),
    (0, b"\x01\xda\x00", "other", "an SGI picture"),
    (0, b"\x01\xda\x01", "other", "an SGI picture"),
    (0, b"\x0a\x05\x01", "other", "a PCX picture"),
    (4, b"\x11\xaf", "other", "an FLI animation"),
    (4, b"\x12\xaf", "other", "an FLC animation"),
    (0, b"DanM", "other", "an MSP picture"),
    (0, b"LinS", "other", "an MSP picture"),
    (0, b"gimp xcf", "other", "a GIMP picture"),
    (0, b"SIMPLE  =", "other", "a FITS table"),
    (0, b"\x76\x2f\x31\x01", "other", "an OpenEXR picture"),
    (8, b"WAVE", "media", "a WAV sound"),
    (8, b"AVI ", "media", "an AVI video"),
    (8, b"AIFF", "media", "an AIFF sound"),
    (8, b"AIFC", "media", "an AIFF sound"),
    (0, b"fLaC", "media", "a FLAC sound"),
    (0, b"OggS", "media", "an Ogg file"),
    (0, b"ID3", "media", "a file with an ID3 tag"),
    (4, b"ftyp", "media", "an MP4 or MOV file"),
    (4, b"moov", "media", "an MP4 or MOV file"),
    (0, b"\x1a\x45\xdf\xa3", "media", "a Matroska or WebM file"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "media", "an ASF file"),
    (0, b"FLV\x01", "media", "an FLV video"),
    (0, b"MAC ", "media", "a Monkey's Audio sound"),
    (0, b"wvpk", "media", "a WavPack sound"),
    (0, b"MPCK", "media", "a Musepack sound"),
    (0, b"MP+", "media", "a Musepack sound"),
    (0, b"TTA1", "media", "a True Audio sound"),
    (0, b"#!AMR", "media", "an AMR sound"),
    (0, b"caff", "media", "a CAF sound"),
    (0, b".snd", "media", "an AU sound"),
    *((0, bytes((0xFF, second)), "media", "an MPEG sound") for second in (0xFB, 0xF3, 0xF1, 0xF9)),
    (0, b"%PDF", "other", "a PDF document"),
    (0, b"%!PS", "other", "a PostScript document"),
    (0, b"PK\x03\x04", "other", "a ZIP archive"),
    (0, b"\x1f\x8b", "other", "gzip-compressed data"),
    (0, b"7z\xbc\xaf", "other", "a 7z archive"),
    (0, b"\x7fELF", "other", "a program"),
)


def sniff(raw: bytes) -> Look | None:
    """What the bytes claim to be, or None when nothing is recognised."""
    for offset, mark, family, name in _MARKS:
        if raw.startswith(mark, offset):
            return Look(family, name)
    if _is_text(raw[:512]):
        return Look("other", "text")
    return None


def _is_text(head: bytes) -> bool:
    """Printable UTF-8; a character may be cut off at the end."""
    text = head.decode("utf-8", errors="ignore")
    intact = len(text.encode()) > len(head) - 4
    return intact and bool(text) and all(c.isprintable() or c in "\t\r\n\f" for c in text)


def unreadable(raw: bytes, family: str, expected: str) -> MediaError:
    """The error for bytes that no decoder of `family` would open.

    Args:
        raw: what was given.
        family: "picture" or "media": what the decoders read.
        expected: what was wanted, in words for the message.
    """
    look = sniff(raw)
    if look is None:
        return MediaError(Reason.BAD_FORMAT, f"not recognised as any format; expected {expected}")
    if look.family == family:
        return MediaError(Reason.DECODE_ERROR, f"{look.name} whose header cannot be read")
    return MediaError(Reason.UNSUPPORTED, f"{look.name}; expected {expected}")
