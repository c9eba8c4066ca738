import pytest
import torch

from encoders import pooling


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_masked_pooling_equals_pooling_each_row_at_its_own_length():
    hidden, count = random(4, 9, 5), torch.tensor([9, 4, 1, 7])
    mean = pooling.pool(hidden, "mean", count=count)
    most = pooling.pool(hidden, "max", count=count)
    for row, length in enumerate(count.tolist()):
        torch.testing.assert_close(mean[row], hidden[row, :length].mean(0))
        assert torch.equal(most[row], hidden[row, :length].max(0).values)


def test_padding_may_hold_anything():
    hidden, count = random(2, 6, 3), torch.tensor([4, 6])
    spoiled = hidden.clone()
    spoiled[0, 4:] = torch.nan
    for how in ("mean", "max", "cls"):
        clean = pooling.pool(hidden, how, count=count)
        assert torch.equal(pooling.pool(spoiled, how, count=count), clean)


def test_prefix_tokens_count_only_for_cls():
    hidden = random(2, 7, 3)
    assert torch.equal(pooling.pool(hidden, "cls", prefix=3), hidden[:, 0])
    assert torch.equal(pooling.pool(hidden, "mean", prefix=3), hidden[:, 3:].mean(1))
    assert torch.equal(pooling.pool(hidden, "max", prefix=3), hidden[:, 3:].amax(1))


def test_feature_map_is_pooled_over_places():
    feature_map = random(2, 5, 3, 4)
    torch.testing.assert_close(pooling.pool(feature_map, "mean"), feature_map.mean((2, 3)))
    assert torch.equal(pooling.pool(feature_map, "max"), feature_map.amax((2, 3)))


def test_half_precision_is_averaged_in_float32():
    hidden = torch.full((1, 4096, 1), 1.001, dtype=torch.bfloat16)
    pooled = pooling.pool(hidden, "mean")
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, hidden[:, 0].float())


def test_average_weighs_the_examples_of_each_item():
    vectors, owner = random(5, 3), torch.tensor([0, 2, 2, 2, 4])
    weight = torch.tensor([7.0, 1.0, 2.0, 3.0, 0.1])
    mean = pooling.average(vectors, owner, weight, 5)
    assert torch.equal(mean[0], vectors[0])
    assert torch.equal(mean[4], vectors[4])
    expected = (vectors[1] + 2 * vectors[2] + 3 * vectors[3]) / 6
    torch.testing.assert_close(mean[2], expected)
    assert not mean[[1, 3]].any()


def test_average_of_nothing():
    empty = pooling.average(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), torch.zeros(0), 2)
    assert torch.equal(empty, torch.zeros(2, 3))


def test_unknown_pooling_lists_the_known():
    with pytest.raises(ValueError, match=r"cls \| mean \| max \| pooler, got 'avg'"):
        pooling.check("avg")
