"""Spatial-reduction attention as section 3.3 of the PVT paper writes it: one window, then one query at a time."""
import math

import torch


def _normalise(x, norm):
    centred = x - x.mean()
    return centred / torch.sqrt((centred**2).mean() + norm.eps) * norm.weight + norm.bias


def _reduced(layer, image):
    """``(H, W, C)`` -> the list of vectors that keys and values are made of."""
    height, width, _ = image.shape
    if layer.sr is None:
        return [image[y, x] for y in range(height) for x in range(width)]
    tokens = []
    if layer.pool is not None:
        size = layer.pool.output_size
        for i in range(size):
            for j in range(size):
                rows = slice(i * height // size, math.ceil((i + 1) * height / size))
                columns = slice(j * width // size, math.ceil((j + 1) * width / size))
                mean = image[rows, columns].mean((0, 1))
                z = _normalise(layer.sr.weight[:, :, 0, 0] @ mean + layer.sr.bias, layer.norm)
                tokens.append(z * 0.5 * (1 + torch.erf(z / 2**0.5)))  # GELU
        return tokens
    ratio = layer.sr_ratio
    # whole windows alone; a map smaller than one has a single window with nothing in the rest of it
    for i in range(max(height // ratio, 1)):
        for j in range(max(width // ratio, 1)):
            z = layer.sr.bias
            for u in range(min(ratio, height)):
                for v in range(min(ratio, width)):
                    z = z + layer.sr.weight[:, :, u, v] @ image[i * ratio + u, j * ratio + v]
            tokens.append(_normalise(z, layer.norm))
    return tokens


def spatial_reduction_attention(layer, x):
    """What ``layer``, a ``mmbackbones.layers.SpatialReductionAttention``, computes from x ``(N, H, W, C)``."""
    channels = x.shape[-1]
    head_channels = channels // layer.num_heads
    out = torch.zeros_like(x)
    for n, image in enumerate(x):
        packed = [layer.kv.weight @ token + layer.kv.bias for token in _reduced(layer, image)]
        for position in torch.cartesian_prod(*map(torch.arange, image.shape[:2])).tolist():
            q = layer.q.weight @ image[tuple(position)] + layer.q.bias
            heads = []
            for head in range(layer.num_heads):
                part = slice(head * head_channels, (head + 1) * head_channels)
                scores = torch.stack([q[part] @ kv[:channels][part] for kv in packed]) / head_channels**0.5
                weights = scores.exp() / scores.exp().sum()
                heads.append(sum(weight * kv[channels:][part] for weight, kv in zip(weights, packed)))
            out[(n, *position)] = layer.proj.weight @ torch.cat(heads) + layer.proj.bias
    return out
