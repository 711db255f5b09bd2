"""Co-attention as the DSNet paper writes it, one sample and one head at a time."""
import torch


def attention(q, k, v):
    """softmax(Q K^T / sqrt(d)) V. ``(L, d)``, ``(S, d)``, ``(S, d)`` -> ``(L, d)``."""
    scores = q @ k.T / q.shape[1]**0.5
    weights = scores.exp() / scores.exp().sum(1, keepdim=True)
    return weights @ v


def multi_head(q, k, v, num_heads):
    """``(N, L, C)``, ``(N, S, C)``, ``(N, S, C)`` -> ``(N, L, C)``."""
    size = q.shape[2] // num_heads
    heads = [slice(h * size, (h + 1) * size) for h in range(num_heads)]
    return torch.stack([
        torch.cat([attention(q[n][:, head], k[n][:, head], v[n][:, head]) for head in heads], 1) for n in range(len(q))
    ])


def co_attention(local_qkv, global_qkv, num_heads):
    """Same arguments and result as ``mmbackbones.layers.co_attention``."""
    channels = local_qkv.shape[2] // 3
    q_l, k_l, v_l = (local_qkv[:, :, i * channels:(i + 1) * channels] for i in range(3))
    q_g, k_g, v_g = (global_qkv[:, :, i * channels:(i + 1) * channels] for i in range(3))
    return multi_head(q_l, k_g, v_g, num_heads), multi_head(q_g, k_l, v_l, num_heads)
