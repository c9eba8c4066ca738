"""What was aimed at, and what a case says about it: shares of the ceiling, ratios to the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.speed import summary

OURS = "polyfuse"
COMPILED = "polyfuse, OpenVINO"  # with the optional runtime
TOLD = "polyfuse, told"  # precision and runtime, which the others are told or don't look for
OF_OURS = (OURS, COMPILED, TOLD)
WHOLE = 0.85  # of the steady rate, for a run of two minutes or more
REAL_TIME = 500.0  # seconds of sound per second
DECODE = 0.5  # of the time that Pillow takes
# Ours over theirs: for a system, and for one in a certain case.
_RATIOS = {
    "Ray Data, documented": 5.0,
    "Ray Data, tuned": 1.3,
    "clip-retrieval": 5.0,
    "Daft": 1.0,
}
_RATIOS_OF_CASES = {
    ("T1", "sentence-transformers"): 3.5,
    ("T1", "sentence-transformers, bf16"): 1.25,
    ("T1", "sentence-transformers, OpenVINO"): 1.25,
    ("T2", "sentence-transformers"): 4.5,
}


def ratio_goal(case: str, system: str) -> float | None:
    """How many times their rate ours shall be; None where nothing was set."""
    return _RATIOS_OF_CASES.get((case, system), _RATIOS.get(system))


@dataclass(frozen=True)
class Ceilings:
    """Records per second on all cores at once, from what each core managed.

    decode, plain: reading alone, ours and that of Pillow or PyAV with transformers' processor (None
    where there is none); fp32, bf16, openvino: the network alone, the last in bf16 too; bound,
    openvino_bound: decoding and bf16 one after the other on each core.
    """

    decode: float
    plain: float | None
    fp32: float
    bf16: float
    openvino: float
    bound: float
    openvino_bound: float

    @classmethod
    def of(cls, parts: Sequence[Mapping[str, Any]]) -> "Ceilings":
        def together(*steps: str) -> float:  # one after the other on each core
            return sum(1 / sum(part[step] for step in steps) for part in parts)

        return cls(
            decode=together("decode"),
            plain=together("plain") if parts[0]["plain"] else None,
            fp32=together("fp32"),
            bf16=together("bf16"),
            openvino=together("openvino"),
            bound=together("decode", "bf16"),
            openvino_bound=together("decode", "openvino"),
        )

    def limit(self, case: Mapping[str, Any], system: str) -> float:
        """What the goal of the case is a share of, for one of ours."""
        if system == COMPILED:
            return self.openvino_bound if case["additive"] else self.openvino
        return self.bound if case["additive"] else self.bf16


def ceilings(found: Mapping[str, Any]) -> Ceilings | None:
    """Those of a case; None where they were not measured."""
    return Ceilings.of(found["parts"]) if found["parts"] else None


def row(found: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """A system's row of a case."""
    return next((row for row in found["systems"] if row["name"] == name), None)


def rate(found: Mapping[str, Any], name: str) -> float | None:
    """Its median steady rate; None where it has none."""
    return _median(found, name, "rate")


def share(found: Mapping[str, Any], name: str) -> float | None:
    """The median share of its workers' time that one of ours spent in what the goal is a share of; None
    where it was not noted."""
    return _median(found, name, "share")


def _median(found: Mapping[str, Any], name: str, what: str) -> float | None:
    there = row(found, name)
    spread = summary.noted(there, what) if there else None
    return spread.median if spread else None


@dataclass(frozen=True)
class Ratio:
    """Our rates over that of another system in a case; alone: the faster of our ceilings over it, None
    where they were not measured; goal: what was aimed at, None if nothing."""

    case: str
    system: str
    ours: float
    compiled: float | None
    alone: float | None
    goal: float | None


def ratios(results: Mapping[str, Any]) -> list[Ratio]:
    """Of everything measured."""
    found = []
    for name, case in results["cases"].items():
        ours, compiled = rate(case, OURS), rate(case, COMPILED)
        known = ceilings(case)
        limits = [known.limit(case["case"], one) for one in (OURS, COMPILED)] if known else []
        for system in (row["name"] for row in case["systems"]):
            theirs = rate(case, system)
            if system not in OF_OURS and ours and theirs:
                faster = compiled / theirs if compiled else None
                alone = max(limits) / theirs if limits else None
                goal = ratio_goal(name, system)
                found.append(Ratio(name, system, ours / theirs, faster, alone, goal))
    return found
