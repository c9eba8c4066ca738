"""The twelve things of the sample: how each looks, sounds, is described and what it costs."""

from dataclasses import dataclass

from jobs.corpus import pictures, sounds
from jobs.corpus.canvas import Colour
from jobs.corpus.captions import Wording
from jobs.corpus.pictures import Paint
from jobs.corpus.sounds import Synth


@dataclass(frozen=True)
class Concept:
    """One thing with a look, a sound and words for it; `price` is the middle of its prices."""

    name: str
    paint: Paint
    synth: Synth
    background: Colour
    wording: Wording
    price: float


CONCEPTS = (
    Concept(
        "bell", pictures.bell, sounds.bell, (150, 185, 220),
        Wording(
            ("a brass bell", "the church bell", "a bronze bell", "tower bells"),
            ("ringing", "tolling slowly", "chiming", "rung by hand"),
            ("golden bronze", "heavy cast brass", "with a clear chime", "from the church tower")),
        60,
    ),
    Concept(
        "siren", pictures.siren, sounds.siren, (25, 25, 45),
        Wording(
            ("a police siren", "the ambulance siren", "an alarm siren", "emergency sirens"),
            ("wailing", "howling up and down", "flashing red", "warning traffic"),
            ("red emergency light", "loud wailing alarm", "on an ambulance", "police patrol")),
        140,
    ),
    Concept(
        "engine", pictures.engine, sounds.engine, (165, 150, 130),
        Wording(
            ("a diesel engine", "the truck motor", "an engine with steel gears", "a gear motor"),
            ("idling", "turning its gears", "rumbling", "running rough"),
            ("grey steel gears", "oily machine parts", "low rumbling motor", "four cylinders")),
        480,
    ),
    Concept(
        "rain", pictures.rain, sounds.rain, (95, 108, 130),
        Wording(
            ("heavy rain", "a rain shower", "raindrops", "a rainy downpour"),
            ("pouring down", "falling on the roof", "pattering", "soaking the street"),
            ("dark wet clouds", "grey stormy sky", "drops and puddles", "steady wet drizzle")),
        4,
    ),
    Concept(
        "bird", pictures.bird, sounds.bird, (120, 195, 235),
        Wording(
            ("a canary bird", "the songbird", "a little yellow bird", "small birds"),
            ("chirping", "singing on a branch", "twittering", "beating its wings"),
            ("yellow feathers", "with an orange beak", "bright bird song", "feathers and wings")),
        35,
    ),
    Concept(
        "drum", pictures.drum, sounds.drum, (215, 205, 190),
        Wording(
            ("a snare drum", "the drummer", "a marching drum", "red drums"),
            ("drumming a beat", "struck with sticks", "thumping", "keeping the beat"),
            ("wooden drum sticks", "white laced drum skin", "strong drum rhythm", "beat by beat")),
        210,
    ),
    Concept(
        "clock", pictures.clock, sounds.clock, (150, 110, 85),
        Wording(
            ("a wall clock", "the old clock", "a pendulum clock", "an alarm clock"),
            ("ticking", "telling the hour", "counting seconds", "ticking away the minutes"),
            ("white clock dial", "with hour hands", "tick tock", "round clock face")),
        45,
    ),
    Concept(
        "bubbles", pictures.bubbles, sounds.bubbles, (20, 150, 165),
        Wording(
            ("air bubbles", "soap bubbles", "bubbles in an aquarium", "bubbling water"),
            ("rising", "bubbling up", "popping at the surface", "blubbering"),
            ("turquoise aquarium water", "round foam bubbles", "fizzy and foamy", "under water")),
        8,
    ),
    Concept(
        "fire", pictures.fire, sounds.fire, (45, 25, 25),
        Wording(
            ("a camp fire", "the fireplace", "open fire", "burning logs"),
            ("crackling", "blazing", "burning down", "glowing with embers"),
            ("orange flames", "hot flames and smoke", "dry wood and embers", "sparks and ash")),
        20,
    ),
    Concept(
        "waves", pictures.waves, sounds.waves, (175, 215, 235),
        Wording(
            ("ocean waves", "the sea", "surf on the beach", "sea waves"),
            ("rolling in", "breaking on the shore", "washing over sand", "swelling"),
            ("blue sea surf", "salt spray and sand", "white ocean foam", "long beach tide")),
        15,
    ),
    Concept(
        "cricket", pictures.cricket, sounds.cricket, (15, 35, 60),
        Wording(
            ("a cricket", "field crickets", "a green cricket", "the grasshopper"),
            ("stridulating", "rubbing its legs", "hidden in grass", "calling from the meadow"),
            ("green insect", "tall meadow grass", "an insect on a summer night", "insect legs")),
        6,
    ),
    Concept(
        "organ", pictures.organ, sounds.organ, (95, 45, 75),
        Wording(
            ("a pipe organ", "the cathedral organ", "an organist", "organ pipes"),
            ("playing a chord", "holding a hymn", "filling the cathedral", "droning"),
            ("silver pipes", "deep solemn organ chord", "pipes and keyboard", "cathedral hymn")),
        900,
    ),
)  # fmt: skip
