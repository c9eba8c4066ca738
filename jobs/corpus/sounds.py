"""How each concept sounds: one function each, (rng, seconds, rate) -> (N,) float samples.

Frequencies are in Hz and shapes in seconds, so that the same thing sounds alike at any rate.
Everything that tells the concepts apart lies below 8 kHz, which the lowest rate we write keeps.
"""

from collections.abc import Callable, Iterable

import numpy as np

Synth = Callable[[np.random.Generator, float, int], np.ndarray]


def _times(seconds: float, rate: int) -> np.ndarray:
    return np.arange(round(seconds * rate)) / rate


def _band_noise(
    rng: np.random.Generator, seconds: float, rate: int, low: float, high: float
) -> np.ndarray:
    """White noise with only low..high Hz left, unit variance."""
    count = round(seconds * rate)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequencies = np.fft.rfftfreq(count, 1 / rate)
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    noise = np.fft.irfft(spectrum, count)
    return noise / noise.std()


def _place(samples: np.ndarray, event: np.ndarray, at: float, rate: int) -> None:
    """Add an event at a time, cut off at the end, in place."""
    start = round(at * rate)
    room = samples[start : start + len(event)]
    room += event[: len(room)]


def _steady(rng: np.random.Generator, seconds: float, gap: float) -> Iterable[float]:
    """The times of a regular beat that starts at a random moment."""
    return np.arange(rng.uniform(0, min(gap, seconds / 2)), seconds, gap)


def bell(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Strikes with inharmonic partials that ring on."""
    samples = np.zeros(round(seconds * rate))
    base = rng.uniform(560, 700)
    ring = _times(seconds, rate)
    for at in _steady(rng, seconds, rng.uniform(0.75, 1.0)):
        for partial, loudness, decay in ((1, 1, 3), (2.0, 0.7, 4), (2.76, 0.6, 5), (5.4, 0.4, 8)):
            tone = loudness * np.sin(2 * np.pi * base * partial * ring) * np.exp(-decay * ring)
            _place(samples, tone, at, rate)
    return samples


def siren(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """A hooting tone that sweeps up and down."""
    times = _times(seconds, rate)
    sweep = np.sin(2 * np.pi * rng.uniform(0.8, 1.3) * times + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(rng.uniform(950, 1100) * 2 ** (0.55 * sweep)) / rate
    return np.sin(phase) + 0.5 * np.sin(2 * phase) + 0.33 * np.sin(3 * phase)


def engine(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Low firing pulses with their overtones, and a rumble."""
    times = _times(seconds, rate)
    wobble = 0.05 * np.sin(2 * np.pi * rng.uniform(0.4, 0.9) * times)
    phase = 2 * np.pi * np.cumsum(rng.uniform(48, 68) * (1 + wobble)) / rate
    pulses = sum(np.sin(n * phase + n * n) / n**0.7 for n in range(1, 11))
    return pulses + 0.5 * _band_noise(rng, seconds, rate, 30, 400)


def rain(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """A steady hiss with drops in it."""
    samples = _band_noise(rng, seconds, rate, 900, 7600)
    drop = _times(0.02, rate)
    for at in rng.uniform(0, seconds, int(rng.integers(15, 30))):
        blip = np.sin(2 * np.pi * rng.uniform(2500, 5500) * drop) * np.exp(-300 * drop)
        _place(samples, 2 * blip, at, rate)
    return samples


def bird(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Quick chirps that glide between 2.5 and 5.5 kHz."""
    samples = np.zeros(round(seconds * rate))
    for at in _steady(rng, seconds, rng.uniform(0.18, 0.26)):
        times = _times(rng.uniform(0.09, 0.14), rate)
        start, end = rng.permutation([rng.uniform(2500, 3200), rng.uniform(4500, 5500)])
        pitch = np.linspace(start, end, len(times))
        envelope = np.sin(np.pi * np.linspace(0, 1, len(times)))
        _place(samples, envelope * np.sin(2 * np.pi * np.cumsum(pitch) / rate), at, rate)
    return samples


def drum(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Thumps whose pitch falls, each with a short snap."""
    samples = np.zeros(round(seconds * rate))
    times = _times(0.3, rate)
    base = rng.uniform(80, 120)
    for at in _steady(rng, seconds, rng.uniform(0.3, 0.42)):
        phase = 2 * np.pi * np.cumsum(base * (1 + 1.2 * np.exp(-40 * times))) / rate
        snap = 0.15 * rng.standard_normal(len(times)) * np.exp(-90 * times)
        _place(samples, np.sin(phase) * np.exp(-14 * times) + snap, at, rate)
    return samples


def clock(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Dry ticks, tick and tock a little apart."""
    samples = np.zeros(round(seconds * rate))
    times = _times(0.03, rate)
    pitch = rng.uniform(1900, 2500)
    for beat, at in enumerate(_steady(rng, seconds, rng.uniform(0.24, 0.28))):
        tone = np.sin(2 * np.pi * pitch * (1 if beat % 2 else 1.2) * times)
        _place(
            samples, (tone + 0.5 * rng.standard_normal(len(times))) * np.exp(-240 * times), at, rate
        )
    return samples


def bubbles(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Many short blips that glide upwards."""
    samples = np.zeros(round(seconds * rate))
    for at in rng.uniform(0, seconds, int(rng.integers(12, 17) * seconds)):
        times = _times(rng.uniform(0.04, 0.09), rate)
        pitch = rng.uniform(350, 800) * (1 + 9 * times)
        envelope = np.sin(np.pi * np.linspace(0, 1, len(times)))
        blip = envelope * np.sin(2 * np.pi * np.cumsum(pitch) / rate)
        _place(samples, rng.uniform(0.5, 1) * blip, at, rate)
    return samples


def fire(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Sharp crackles of all loudnesses over a soft roar."""
    samples = 0.12 * _band_noise(rng, seconds, rate, 60, 500)
    for at in rng.uniform(0, seconds, int(rng.integers(18, 28) * seconds)):
        times = _times(0.012, rate)
        crack = rng.standard_normal(len(times)) * np.exp(-rng.uniform(300, 900) * times)
        _place(samples, rng.exponential(0.6) * crack, at, rate)
    return samples


def waves(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Surf: noise that swells and sinks."""
    times = _times(seconds, rate)
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 0.8) * times + rng.uniform(0, 6))
    body = _band_noise(rng, seconds, rate, 100, 900)
    return (0.1 + swell) * body + 0.25 * swell**2 * _band_noise(rng, seconds, rate, 900, 3000)


def cricket(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """A high tone in quick pulses, three or four to a chirp."""
    times = _times(seconds, rate)
    tone = np.sin(2 * np.pi * rng.uniform(4400, 4900) * times)
    pulses = np.sin(2 * np.pi * rng.uniform(24, 30) * times) > 0
    chirps = np.sin(2 * np.pi * rng.uniform(2.2, 3.0) * times + rng.uniform(0, 6)) > -0.2
    return tone * pulses * chirps


def organ(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """A held chord, rich in harmonics."""
    times = _times(seconds, rate)
    root = rng.uniform(196, 247)
    chord = np.array([1, 1.25 if rng.random() < 0.5 else 1.2, 1.5, 2])
    voices = (
        np.sin(2 * np.pi * root * note * harmonic * times + rng.uniform(0, 6)) / harmonic
        for note in chord
        for harmonic in range(1, 7)
    )
    return np.asarray(sum(voices)) * np.minimum(1, times / 0.08)
