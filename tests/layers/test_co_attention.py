"""Co-attention and DSNet's blocks: against the slow reference, memory, dropout, the pooled grid."""
import sys

import pytest
import torch
from cases import build
from reference.co_attention import co_attention as reference
from torch.utils._python_dispatch import TorchDispatchMode

from mmbackbones.layers import co_attention, linear_memory_attention
from mmbackbones.models.dsnet import DualStreamBlock

# the function of that name hides its module
module = sys.modules['mmbackbones.layers.co_attention']


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize('num_heads', [1, 2, 5])
def test_values_and_gradients_are_those_of_the_paper(num_heads):
    inputs = draw(2, 35, 60), draw(2, 6, 60, seed=1)
    ours, theirs = co_attention(*inputs, num_heads), reference(*inputs, num_heads)
    weights = [draw(*out.shape, seed=2) for out in ours]
    for outs in (ours, theirs):
        assert [out.shape for out in outs] == [(2, 35, 20), (2, 6, 20)]
    gradients = [torch.autograd.grad(sum((w * o).sum() for w, o in zip(weights, o)), inputs) for o in (ours, theirs)]
    for a, b in zip(ours + gradients[0], theirs + gradients[1]):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_gradcheck():
    assert torch.autograd.gradcheck(lambda *qkv: co_attention(*qkv, 2), (draw(1, 5, 12), draw(1, 2, 12, seed=1)))


def test_dropout_in_chunks_drops_single_weights_and_gives_their_gradient(monkeypatch):
    monkeypatch.setattr(module, 'SCORES', 2 * 2 * 8 * 7)  # 7 rows at a time: the last chunk is smaller
    torch.manual_seed(0)
    q, k = draw(2, 300, 16), draw(2, 8, 16, seed=1)
    # values that show each weight: in either head the identity
    v = torch.eye(8, dtype=torch.float64).repeat(1, 2).expand(2, 8, 16).clone().requires_grad_()
    out = linear_memory_attention(q, k, v, 2, dropout_p=0.25)
    full = linear_memory_attention(q, k, v, 2)
    kept = (out / full).detach()
    assert ((kept == 0) | ((kept - 4 / 3).abs() < 1e-9)).all()
    assert abs((kept == 0).double().mean() - 0.25) < 0.02
    assert not torch.equal(kept[:, :7], kept[:, 7:14])
    # the mask of the forward pass, not a new one
    weight = draw(2, 300, 16, seed=3)
    for a, b in zip(
            torch.autograd.grad((out * weight).sum(), (q, k)), torch.autograd.grad((full * kept * weight).sum(),
                                                                                   (q, k))):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that any operation makes."""
    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out, ):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize('attn_drop_rate', [0., 0.1])
def test_memory_of_a_training_step_grows_with_the_area_and_not_faster(attn_drop_rate, monkeypatch):
    monkeypatch.setattr(module, 'SCORES', 2**10)
    block = DualStreamBlock(4, 1, 4, True, 0., attn_drop_rate, dict(type='BN'))
    saved_bytes, largest = [], []
    for size in (32, 64):  # 1,024 positions and 64, then 4,096 and 256: sixteen times the scores
        saved = {}

        def keep(tensor):
            saved[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        x = torch.randn(1, 4, size, size)
        with LargestTensor() as made:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                out = block(x)
            out.square().mean().backward()
        saved_bytes.append(sum(tensor.untyped_storage().nbytes() for tensor in saved.values()))
        largest.append(made.numel)
    assert saved_bytes[1] < 4.2 * saved_bytes[0]
    assert largest[1] <= 4 * largest[0]


def test_the_pooled_grid_is_a_32nd_of_the_image_and_a_64th_in_the_last_stage():
    backbone = build('dsnet_t').eval().to('meta')
    grids = []
    for block in backbone.modules():
        if isinstance(block, DualStreamBlock):
            block.global_norm.register_forward_hook(lambda module, inputs, output: grids.append(output.shape[1]))
    for size, stages in (((224, 224), (49, 49, 49, 9)), ((97, 33), (4 * 2, 4 * 2, 4 * 2, 2)), ((32, 32), (1, 1, 1, 1))):
        grids.clear()
        backbone(torch.empty(1, 3, *size, device='meta'))
        expected = [grid for grid, depth in zip(stages, (2, 2, 4, 1)) for _ in range(depth)]
        assert grids == expected


def test_drop_path_rates_start_anew_in_every_stage():
    backbone = build('dsnet_t', drop_path_rate=0.8)
    rates = [[block.drop_path.drop_prob for block in getattr(backbone, name) if isinstance(block, DualStreamBlock)]
             for name in backbone.stage_names]
    assert rates == [pytest.approx([0.1 * index for index in range(depth)]) for depth in (2, 2, 4, 1)]


@pytest.mark.parametrize('arguments', [dict(attn_drop_rate=1.), dict(drop_path_rate=-0.1), dict(arch='huge')])
def test_values_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        build('dsnet_t', **arguments)
