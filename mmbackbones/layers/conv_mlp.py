"""The perceptron of Pyramid Vision Transformers v2, with a depth-wise convolution in the middle."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._cpu import is_plain, works_in_pieces
from .mlp import Mlp

__all__ = ['ConvMlp']

# Values of a piece for each thread, 8 MiB in float32, but not less than so many channels
VALUES, CHANNELS = 2**21, 64


class ConvMlp(Mlp):
    """An MLP with a 3x3 depth-wise convolution behind its first layer (PVTv2, section 3.4).

    Zeros around the map tell positions apart. ``(N, H, W, C)`` -> ``(N, H, W, C)``.

    Args:
        embed_dims: C.
        hidden_dims: channels between the two layers.
        relu: whether a ReLU precedes the convolution, as in the variant with linear attention.
    """

    def __init__(self, embed_dims: int, hidden_dims: int, relu: bool):
        super().__init__(embed_dims, hidden_dims)
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.dwconv = nn.Conv2d(hidden_dims, hidden_dims, 3, 1, 1, groups=hidden_dims)

    def forward(self, x: Tensor) -> Tensor:
        if works_in_pieces(x) and is_plain(self.fc1, self.dwconv, self.act, self.fc2):
            return self._in_pieces(x)
        hidden = self.relu(self.fc1(x)).permute(0, 3, 1, 2)  # (N, hidden, H, W)
        return self.fc2(self.act(self.dwconv(hidden).permute(0, 2, 3, 1)))

    def _in_pieces(self, x: Tensor) -> Tensor:
        """Some of the hidden channels at a time: neither convolution nor activation looks from one at another."""
        rows = x.flatten(0, 2)
        out = self.fc2.bias.repeat(len(rows), 1)
        step = max(VALUES * torch.get_num_threads() // len(rows) // CHANNELS, 1) * CHANNELS
        for start in range(0, len(self.fc1.weight), step):
            piece = slice(start, start + step)
            hidden = self.relu(torch.addmm(self.fc1.bias[piece], rows, self.fc1.weight[piece].t()))
            hidden = hidden.unflatten(0, x.shape[:3]).permute(0, 3, 1, 2)  # (N, piece, H, W)
            hidden = F.conv2d(
                hidden, self.dwconv.weight[piece], self.dwconv.bias[piece], padding=1, groups=hidden.shape[1])
            hidden = torch.ops.aten.gelu_(hidden).permute(0, 2, 3, 1)
            out.addmm_(hidden.reshape(len(rows), -1), self.fc2.weight[:, piece].t())
        return out.view(x.shape)
