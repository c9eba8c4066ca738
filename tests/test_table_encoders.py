import numpy as np
import pytest

import encoders
from encoders.base import EncoderSpec
from encoders.media.errors import MediaError, Reason


def build(kind: str, name: str, **options):
    return encoders.build(EncoderSpec(kind, name, options))


def reason(encoder, item) -> Reason:
    with pytest.raises(MediaError) as caught:
        encoder.prepare([item])
    return caught.value.reason


def test_as_is_changes_nothing() -> None:
    encoder = build("vector", "as-is", dim=3)
    prepared = encoder.prepare([[1, 2, 3.5], np.array([0.1, -0.2, 0.3], np.float32)])
    got = encoder.encode([*prepared, None])
    np.testing.assert_array_equal(got, np.array([[1, 2, 3.5], [0.1, -0.2, 0.3], [0, 0, 0]], "f4"))
    assert got.dtype == np.float32


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ([1.0, 2.0], Reason.BAD_FORMAT),
        ([[1.0, 2.0, 3.0]], Reason.BAD_FORMAT),
        ([1.0, "two", 3.0], Reason.BAD_FORMAT),
        ([1.0, [2.0], 3.0], Reason.BAD_FORMAT),
        ([1.0, np.nan, 3.0], Reason.NON_FINITE),
        ([1.0, None, 3.0], Reason.NON_FINITE),
        ([1.0, 1e300, 3.0], Reason.NON_FINITE),
    ],
)
def test_as_is_refuses(item, expected: Reason) -> None:
    assert reason(build("vector", "as-is", dim=3), item) is expected


def test_as_is_needs_a_length() -> None:
    with pytest.raises(ValueError, match="give `dim`"):
        encoders.identify(EncoderSpec("vector", "as-is"))
    with pytest.raises(ValueError, match="expected a positive dim, got -1"):
        encoders.identify(EncoderSpec("vector", "as-is", {"dim": -1}))


def test_number_is_standardised() -> None:
    encoder = build("numeric", "number", mean=10.0, scale=4.0)
    got = encoder.encode([*encoder.prepare([10, 18.0, "2", np.float32(12)]), None])
    np.testing.assert_array_equal(got, np.array([[0], [2], [-2], [0.5], [0]], "f4"))
    assert encoder.encode([]).shape == (0, 1)


def test_number_refuses() -> None:
    encoder = build("numeric", "number")
    assert reason(encoder, "ten") is Reason.BAD_FORMAT
    assert reason(encoder, float("nan")) is Reason.NON_FINITE
    assert reason(encoder, 1e300) is Reason.NON_FINITE
    with pytest.raises(ValueError, match="expected a positive scale, got 0"):
        build("numeric", "number", scale=0)


def test_categories_hash_to_one_place() -> None:
    encoder = build("categorical", "hashed-category", buckets=16)
    got = encoder.encode([*encoder.prepare(["red", "blue", "red"]), None])
    np.testing.assert_array_equal(got.sum(axis=1), [1, 1, 1, 0])
    np.testing.assert_array_equal(got[0], got[2])
    assert (got[0] != got[1]).any()


def test_listed_categories_have_a_place_each() -> None:
    encoder = build("categorical", "hashed-category", values=["s", "m", 10])
    np.testing.assert_array_equal(
        encoder.encode(encoder.prepare(["m", "s", 10])), np.eye(3)[[1, 0, 2]]
    )
    with pytest.raises(MediaError, match="unknown category 'xl'; known: s, m, 10"):
        encoder.prepare(["xl"])


@pytest.mark.parametrize("values", [[], ["a", "a"], [1, "1"]])
def test_listed_categories_must_be_distinct(values: list) -> None:
    with pytest.raises(ValueError, match="expected distinct values"):
        build("categorical", "hashed-category", values=values)
