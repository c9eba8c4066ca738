"""One pre-norm transformer layer that can't meet a softmax over nothing.

B records, Q tokens that ask, K tokens that are asked, W width of a token, H heads.
"""

from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Scaled dot-product attention of several heads to K tokens and to one token of nothing.

    The token of nothing has key and value zero: where all others are masked the answer is exactly
    zero, never 0/0. No biases, so that nothing says nothing.

    Raises:
        ValueError: a width that is no multiple of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width: expected a multiple of heads ({heads}), got {width}")
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, tokens: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(B, Q, W) ask (B, K, W), those that the bool (B, K) allows -> (B, Q, W)."""
        keys_values = self.key_value(self.norm(context))
        nothing = (0, 0, 0, 1)  # one row of zeros after the last token
        key, value = functional.pad(keys_values, nothing).chunk(2, dim=-1)
        answer = functional.scaled_dot_product_attention(
            self._by_head(self.query(self.norm(tokens))),
            self._by_head(key),
            self._by_head(value),
            attn_mask=functional.pad(mask, (0, 1), value=True)[:, None, None],  # (B, 1, 1, K + 1)
        )
        return self.output(answer.transpose(1, 2).flatten(2))

    def _by_head(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, T, W) -> (B, H, T, W/H)


class TransformerLayer(nn.Module):
    """x + Attention(x, context), then x + MLP(LN x), the MLP with one layer of 2 W and GELU.

    attends=False leaves the first step out, where there can never be a context.
    """

    def __init__(self, width: int, heads: int, *, attends: bool = True) -> None:
        super().__init__()
        self.attention = Attention(width, heads) if attends else None
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """tokens (B, Q, W) ask context (B, K, W) where mask (B, K) is True -> (B, Q, W)."""
        if self.attention is not None:
            tokens = tokens + self.attention(tokens, context, mask)
        return tokens + self.feed_forward(tokens)
