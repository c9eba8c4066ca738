"""Modality dropout: never the last feature, the stated rate, the same choice in any order."""

import torch

from fusion.objectives.dropout import drop


def presence(rows=4000):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(rows, generator=generator) < 0.6 for name in ("a", "b", "c")}


def test_a_record_keeps_at_least_one_feature_and_gains_none():
    present = presence()
    for rate in (0.0, 0.5, 0.99):
        kept = drop(present, rate)
        before, after = (torch.stack(list(p.values())) for p in (present, kept))
        assert not (after & ~before).any()
        assert torch.equal(before.any(dim=0), after.any(dim=0))


def test_features_are_hidden_at_the_stated_rate_and_evenly():
    full = {name: torch.ones(20000, dtype=torch.bool) for name in "abc"}
    torch.manual_seed(0)
    kept = torch.stack(list(drop(full, 0.3).values())).double()
    # All three hidden (0.3^3) gives one back, each of them as often as the others.
    expected = 0.7 + 0.3**3 / 3
    assert (kept.mean(dim=1) - expected).abs().max() < 4 * (0.21 / 20000) ** 0.5


def test_the_order_of_the_mapping_changes_nothing():
    present = presence()
    torch.manual_seed(1)
    one = drop(present, 0.5)
    torch.manual_seed(1)
    other = drop(dict(reversed(present.items())), 0.5)
    assert all(torch.equal(one[name], other[name]) for name in present)


def test_a_sequence_is_hidden_whole():
    steps = torch.tensor([[True, True, False]] * 500)
    torch.manual_seed(0)
    kept = drop({"frames": steps, "text": torch.ones(500, dtype=torch.bool)}, 0.5)["frames"]
    assert set(kept.sum(dim=1).tolist()) == {0, 2}
