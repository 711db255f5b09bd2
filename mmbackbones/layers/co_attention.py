"""Attention between a long and a short sequence, in both directions, with memory linear in either length."""
from typing import Tuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .attention import multi_head_attention

__all__ = ['co_attention', 'linear_memory_attention']

# Scores that exist at a time where no fused kernel drops them: 16 MiB in float32
SCORES = 2**22


def linear_memory_attention(q: Tensor, k: Tensor, v: Tensor, num_heads: int, dropout_p: float = 0.) -> Tensor:
    """Multi-head attention that never holds all scores, with dropout neither.

    The fused kernels do this on their own, but those of the CPU know no dropout: there torch computes and keeps the
    whole matrix of scores and a mask of its size. So the queries go in chunks, each of which sees all keys and is
    computed again in the backward pass with the same mask. Nothing is approximated; kept are q, k, v and the output.

    Args:
        q: ``(N, L, C)``; the last dimension is contiguous, or the fused kernels do not take it.
        k, v: ``(N, S, C)``, likewise.
        num_heads: C is a multiple of it.
        dropout_p: of the attention weights; the caller passes 0 in evaluation.

    Returns:
        Tensor: ``(N, L, C)``.
    """
    if not dropout_p or q.is_cuda:
        return multi_head_attention(q, k, v, num_heads, dropout_p=dropout_p)
    rows = max(1, SCORES // max(k.shape[:2].numel() * num_heads, 1))
    return torch.cat([
        checkpoint(multi_head_attention, part, k, v, num_heads, dropout_p=dropout_p, use_reentrant=False)
        for part in q.split(rows, 1)
    ], 1)


def co_attention(local_qkv: Tensor, global_qkv: Tensor, num_heads: int, dropout_p: float = 0.) -> Tuple[Tensor, Tensor]:
    """Local positions ask global ones, and the other way round (Mao et al. 2021, inter-scale alignment).

    Time grows with L * S, memory with L + S: at 800 x 1216 pixels DSNet's first stage has L = 60,800 and S = 950,
    and one head's scores alone would take 231 MB an image and direction.

    Args:
        local_qkv: ``(N, L, 3 * C)``, queries, keys and values of the fine map, in this order.
        global_qkv: ``(N, S, 3 * C)``, of the coarse one.
        num_heads: C is a multiple of it.
        dropout_p: of the attention weights; the caller passes 0 in evaluation.

    Returns:
        tuple[Tensor]: softmax(Q_L K_G^T / sqrt(d)) V_G ``(N, L, C)`` and softmax(Q_G K_L^T / sqrt(d)) V_L
        ``(N, S, C)``, where d is a head's channels.
    """
    local_q, local_k, local_v = local_qkv.chunk(3, -1)  # each (N, L, C)
    global_q, global_k, global_v = global_qkv.chunk(3, -1)  # each (N, S, C)
    return (linear_memory_attention(local_q, global_k, global_v, num_heads,
                                    dropout_p), linear_memory_attention(global_q, local_k, local_v, num_heads,
                                                                        dropout_p))
