"""Disposable decoders: a medium that kills, hangs or eats memory costs itself."""

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from encoders.media.errors import MediaError, Reason
from encoders.media.limits import Limits
from pipeline import isolate


def png() -> bytes:
    sink = io.BytesIO()
    Pillow.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(sink, "PNG")
    return sink.getvalue()


class _Bad(bytes):
    """Unpickling it in the child does the damage, as a broken decoder would."""

    def __new__(cls, code: str):
        self = super().__new__(cls, b"x")
        self.code = code
        return self

    def __reduce__(self):
        return (eval, (self.code,))


@pytest.fixture
def tool():
    made = isolate.Disposable(Limits(item_timeout=5.0))
    yield made
    made.close()


def test_gives_what_decoding_in_the_actor_gives(tool):
    inside = isolate.InActor(Limits()).decode(png(), "image", None, False)
    outside = tool.decode(png(), "image", None, False)
    assert (inside.pixels == outside.pixels).all()


def test_a_media_error_is_passed_on(tool):
    with pytest.raises(MediaError) as caught:
        tool.decode(b"\x89PNG\r\n\x1a\n but no more", "image", None, False)
    assert caught.value.reason in (Reason.BAD_FORMAT, Reason.DECODE_ERROR)


def test_a_crash_costs_two_tries_and_the_next_medium_decodes(tool):
    with pytest.raises(MediaError, match="died on this medium") as caught:
        tool.decode(
            _Bad("__import__('os').kill(__import__('os').getpid(), 11)"), "image", None, False
        )
    assert caught.value.reason == Reason.CRASH
    assert tool.attempts == isolate.TRIES
    assert tool.decode(png(), "image", None, False).pixels.shape == (10, 10, 3)


def test_a_decoder_that_the_system_kills_had_no_memory(tool):
    with pytest.raises(MediaError, match="memory was gone") as caught:
        tool.decode(
            _Bad("__import__('os').kill(__import__('os').getpid(), 9)"), "image", None, False
        )
    assert caught.value.reason == Reason.OOM
    assert tool.attempts == isolate.TRIES


def test_a_hang_ends_at_the_deadline():
    tool = isolate.Disposable(Limits(item_timeout=1.0))
    tool.decode(png(), "image", None, False)  # the child is up
    with pytest.raises(MediaError, match="longer than 1 s") as caught:
        tool.decode(_Bad("__import__('time').sleep(60)"), "image", None, False)
    tool.close()
    assert caught.value.reason == Reason.TIMEOUT
