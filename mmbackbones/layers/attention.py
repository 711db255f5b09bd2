"""Multi-head attention over sequences, by torch's fused kernels."""
from typing import Optional

import torch.nn.functional as F
from torch import Tensor

__all__ = ['multi_head_attention']


def multi_head_attention(q: Tensor,
                         k: Tensor,
                         v: Tensor,
                         num_heads: int,
                         bias: Optional[Tensor] = None,
                         scale: Optional[float] = None,
                         dropout_p: float = 0.) -> Tensor:
    """softmax(q k^T * scale + bias) v in each head (Vaswani et al. 2017, equation 1 and section 3.2.2).

    Args:
        q: ``(N, L, C)``; head h has the channels h * C / num_heads and on.
        k, v: ``(N, S, C)``.
        num_heads: C is a multiple of it.
        bias: added to the scores; broadcast to ``(N, num_heads, L, S)``. ``-inf`` forbids a pair.
        scale: Defaults to None: one over the square root of a head's channels.
        dropout_p: of the attention weights; the caller passes 0 in evaluation.

    Returns:
        Tensor: ``(N, L, C)``.
    """
    heads = [x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (q, k, v)]  # (N, heads, L or S, C / heads)
    out = F.scaled_dot_product_attention(*heads, attn_mask=bias, dropout_p=dropout_p, scale=scale)
    return out.transpose(1, 2).flatten(2)
