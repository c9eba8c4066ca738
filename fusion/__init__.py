"""The fusion operators: one explicit table, name -> what it needs and where it lives.

A new operator is one module and one line here.
"""

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusion.base import Fusion
    from fusion.cost import Cost


@dataclass(frozen=True)
class Entry:
    """One catalogue line: "module:Class", a summary, and what training needs ("labels", "sequences").

    metric: the index metric its vectors must have ("ip"); None: the run's own choice.
    objective: the name in `fusion.objectives.OBJECTIVES` it is trained for where the user names
        none; None: it has nothing to train.
    """

    target: str
    summary: str
    needs: frozenset[str] = frozenset()
    metric: str | None = None
    objective: str | None = "reconstruct"


_TOWERS = "fusion.coordinated.towers:Towers"  # what tells the spaces apart is their objective
_SHORT = "fusion.coordinated.towers:ShortTowers"

FUSIONS: dict[str, Entry] = {
    "concat": Entry(
        "fusion.operators.concat:Concat",
        "unit blocks side by side; needs no training",
        metric="ip",  # never renormalised: an absent modality must not make the others count more
        objective=None,
    ),
    "stack": Entry(
        "fusion.operators.stack:Stack",
        "features side by side as they are, zero where absent; for heads",
        objective=None,
    ),
    "sum": Entry("fusion.operators.sum:Sum", "mean of linear projections"),
    "gmu": Entry(
        "fusion.operators.gmu:GMU", "gated multimodal unit: a learned gate per coordinate"
    ),
    "attention-sum": Entry(
        "fusion.operators.attention_sum:AttentionSum", "mean of projections, weighted by attention"
    ),
    "deep-set": Entry("fusion.operators.deep_set:DeepSet", "pool of encoded features, transformed"),
    "embracenet": Entry(
        "fusion.operators.embracenet:EmbraceNet", "each coordinate from one feature drawn at random"
    ),
    "film": Entry("fusion.operators.film:FiLM", "one feature, scaled and shifted by the others"),
    "multiplicative-matrix": Entry(
        "fusion.operators.multiplicative_matrix:MultiplicativeMatrix",
        "one feature, mapped by a matrix that the others generate",
    ),
    "bilinear": Entry(
        "fusion.operators.bilinear:Bilinear", "a weight for every pair of coordinates"
    ),
    "tfn": Entry("fusion.operators.tfn:TFN", "outer product of all features, projected"),
    "lmf": Entry("fusion.operators.lmf:LMF", "tensor fusion with weights of low rank"),
    "compact-bilinear": Entry(
        "fusion.operators.compact_bilinear:CompactBilinear", "sketch of the outer product"
    ),
    "infonce": Entry(_TOWERS, "one space, by contrast within the batch", objective="infonce"),
    "siglip": Entry(_TOWERS, "one space, every pair judged by itself", objective="siglip"),
    "dcca": Entry(_SHORT, "one space of correlated views (deep CCA)", objective="dcca"),
    "dgcca": Entry(_SHORT, "deep CCA of all features at once", objective="dgcca"),
    "cca": Entry(
        "fusion.coordinated.cca:CCA", "canonical correlations, in one pass", objective="dcca"
    ),
    "barlow-twins": Entry(_TOWERS, "one space, without negatives", objective="barlow-twins"),
    "vicreg": Entry(_TOWERS, "one space, without negatives, views alike", objective="vicreg"),
    "decision-mean": Entry(
        "fusion.operators.decision_mean:DecisionMean",
        "mean of the probabilities of one calibrated classifier per feature",
        needs=frozenset({"labels"}),
        objective="experts",
    ),
    "decision-product": Entry(
        "fusion.operators.decision_product:DecisionProduct",
        "product of the probabilities of one calibrated classifier per feature, over the prior",
        needs=frozenset({"labels"}),
        objective="experts",
    ),
    "mlb": Entry("fusion.operators.mlb:MLB", "product of squashed projections, projected"),
    "mfb": Entry("fusion.operators.mfb:MFB", "product of wide projections, summed in groups"),
    "mfh": Entry("fusion.operators.mfh:MFH", "cascade of MFB blocks, products of higher order"),
    "tucker": Entry(
        "fusion.operators.tucker:Tucker", "short projections meet in a full core tensor"
    ),
    "mutan": Entry("fusion.operators.mutan:MUTAN", "Tucker whose core is a sum of a few products"),
    "block": Entry("fusion.operators.block:BLOCK", "chunks of projections, a low-rank core each"),
    "block-tucker": Entry(
        "fusion.operators.block_tucker:BlockTucker", "chunks of projections, a full core each"
    ),
    "mbt": Entry(
        "fusion.operators.mbt:MBT",
        "bottleneck transformer: features talk through a few shared tokens",
        needs=frozenset({"sequences"}),
    ),
    "cross-attention": Entry(
        "fusion.operators.cross_attention:CrossAttention",
        "the tokens of every feature ask the tokens of all others",
        needs=frozenset({"sequences"}),
    ),
    "poe": Entry(
        "fusion.operators.poe:PoE", "product of experts: a Gaussian each", objective="elbo"
    ),
    "moe": Entry(
        "fusion.operators.moe:MoE", "mixture of experts: a Gaussian each", objective="elbo"
    ),
    "mopoe": Entry(
        "fusion.operators.mopoe:MoPoE",
        "mixture over the products of all subsets",
        objective="elbo",
    ),
    "autoencoder": Entry(
        "fusion.autoencoders.autoencoder:Autoencoder", "one code shared by all features"
    ),
    "vae": Entry(
        "fusion.autoencoders.vae:VAE",
        "variational autoencoder; posterior poe, moe or mopoe",
        objective="elbo",
    ),
}


def _target(name: str) -> Any:
    if name not in FUSIONS:
        raise ValueError(f"unknown fusion {name!r}; known: {', '.join(sorted(FUSIONS))}")
    module, _, attribute = FUSIONS[name].target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def options_type(name: str) -> type:
    """The frozen dataclass that says which options this operator takes."""
    return _target(name).Options


def build(name: str, dims: Mapping[str, int], **options: Any) -> "Fusion":
    """Build an operator over features of these lengths, e.g. dims={"image": 384, "text": 384}.

    Weights are drawn from torch's generator in the order of the features' names, so that a seed
    gives the same ones whatever the order of `dims`.

    Raises:
        ValueError: an unknown name, or options that do not fit.
    """
    target = _target(name)
    _check_options(name, dataclasses.fields(target.Options), options)
    return target(dims, target.Options(**options))


def _check_options(
    name: str, fields: Sequence[dataclasses.Field[Any]], given: Mapping[str, Any]
) -> None:
    known = [field.name for field in fields]
    for key in given:
        if key not in known:
            raise ValueError(f"{name}: unknown option {key!r}; known: {', '.join(known) or 'none'}")
    for field in fields:
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and field.name not in given:
            raise ValueError(f"{name}: the option {field.name!r} is required")
        if field.type in (int, float) and field.name in given:
            _check_number(name, field, given[field.name])


def _check_number(name: str, field: dataclasses.Field[Any], value: object) -> None:
    whole = field.type is int
    allowed = int if whole else (int, float)
    if not isinstance(value, allowed) or isinstance(value, bool):
        expected = "a whole number" if whole else "a number"
        raise ValueError(f"{name}: {field.name}: expected {expected}, got {value!r}")


def describe(name: str, dims: Mapping[str, int], **settings: Any) -> "Cost":
    """What an operator would cost, without building it; arguments as for `fusion.cost.describe`."""
    from fusion.cost import describe

    return describe(name, dims, **settings)


def afford(name: str, dims: Mapping[str, int], *, memory: int, **settings: Any) -> "Cost":
    """The same if it fits into `memory` bytes, else an error with what does; see `fusion.cost.afford`."""
    from fusion.cost import afford

    return afford(name, dims, memory=memory, **settings)


def extend(model: "Fusion", dims: Mapping[str, int]) -> "Fusion":
    """The same trained operator with room for more features; `dims` names old and new ones.

    Records without the new features keep their vectors: the old weights and scalings are taken over,
    and every new one belongs to a new feature alone. A new feature's own are freshly drawn, and its
    scaling is the identity until it is trained.

    Raises:
        ValueError: the operator can't be extended, or `dims` lacks or resizes an old feature.
    """
    if not model.extensible:
        raise ValueError(f"{type(model).__name__} can't take another feature: train it anew")
    for name, size in model.dims.items():
        if dims.get(name) != size:
            raise ValueError(f"feature {name!r}: expected length {size}, got {dims.get(name)}")
    operator: Any = type(model)
    wider: Fusion = operator(dims, model.options)
    old = model.state_dict()
    wider.to(next(tensor for tensor in old.values() if tensor.is_floating_point()))
    _, strange = wider.load_state_dict(old, strict=False)
    assert not strange, f"{operator.__name__} says it is extensible, but has no place for {strange}"
    return wider.train(model.training)
