"""The block of most vision transformers."""
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks.drop import DropPath
from torch import Tensor, nn

__all__ = ['PreNormBlock']


class PreNormBlock(nn.Module):
    """Attention and a perceptron, each behind a norm and beside a shortcut. ``(N, H, W, C)`` -> the same shape.

    Args:
        embed_dims: C.
        attn, mlp: ``(N, H, W, C)`` -> the same shape.
        drop_path_rate: at which a sample skips either of them in training.
        norm_cfg: of the norms.
    """

    def __init__(self, embed_dims: int, attn: nn.Module, mlp: nn.Module, drop_path_rate: float, norm_cfg: dict):
        super().__init__()
        self.norm1 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.attn = attn
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.mlp = mlp
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
