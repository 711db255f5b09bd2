"""Window attention: against the slow reference, at the seam of a shifted map, beside padding, and its kept masks."""
import sys

import pytest
import torch
import torch.nn.functional as F
from reference.window_attention import window_attention as reference
from reference.window_attention import window_positions
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from mmbackbones.layers import WindowAttention, window_attention, window_mask

# the function of that name hides its module
module = sys.modules['mmbackbones.layers.window_attention']

# (H, W), window size
SIZES = {
    'windows fit': ((6, 9), 3),
    'even window': ((8, 4), 4),
    'padded': ((7, 5), 3),
    'padded by a whole shift': ((9, 13), 4),
    'one window': ((3, 3), 3),
    'smaller than a window, and longer': ((2, 7), 3),
    'smaller than a window': ((1, 2), 3),
}


def make(window_size: int, shift: bool) -> WindowAttention:
    layer = WindowAttention(8, 2, window_size, shift).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return layer


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)


def work_whole(monkeypatch):
    """As on other devices, under autocast and in a compiler."""
    for name in ('is_eager', 'works_in_pieces'):
        monkeypatch.setattr(module, name, lambda x: False)


@pytest.mark.parametrize('case', SIZES)
@pytest.mark.parametrize('shift', [False, True])
@pytest.mark.parametrize('scores', [None, 2 * 9 * 9, 5 * 2 * 9 * 9, 2**20])  # of a piece; None: as on other devices
def test_values_and_gradients_are_those_of_the_formula(case, shift, scores, monkeypatch):
    if scores is None:
        work_whole(monkeypatch)
    else:
        monkeypatch.setattr(module, 'SCORES', scores)
    size, window_size = SIZES[case]
    layer = make(window_size, shift)
    x = draw(2, *size, 8)
    leaves = [x, *layer.parameters()]
    theirs = reference(x, (layer.qkv.weight, layer.qkv.bias), (layer.proj.weight, layer.proj.bias),
                       layer.relative_position_bias_table, 2, window_size, shift)
    results = [(y, *torch.autograd.grad(y.square().sum(), leaves)) for y in (layer(x), theirs)]
    for ours, expected in zip(*results):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), theirs, rtol=1e-9, atol=1e-9)


def test_gradcheck():
    size, window = (3, 4), (2, 2)
    mask = window_mask(size, window, (1, 1), torch.float64, torch.device('cpu'))
    q, k, v = draw(3, 2 * len(mask), 4, 4).detach().unbind()
    bias = draw(2, 4, 4)
    leaves = [q.requires_grad_(), k.requires_grad_(), v.requires_grad_(), bias]
    assert torch.autograd.gradcheck(lambda *inputs: window_attention(*inputs, mask=mask), leaves)


@pytest.mark.parametrize('case', SIZES)
def test_a_shifted_window_never_looks_across_the_seam(case):
    (height, width), window_size = SIZES[case]
    layer = make(window_size, shift=True).eval()
    x = draw(1, height, width, 8).detach()
    before = layer(x)
    for y, column in ((0, 0), (0, width - 1), (height - 1, width // 2)):
        changed = x.clone()
        changed[:, y, column] += 1
        moved = (layer(changed) != before).any(-1)[0]
        expected = window_positions(y, column, (height, width), window_size, True)
        assert sorted(map(tuple, moved.nonzero().tolist())) == expected


@pytest.mark.parametrize('shift', [False, True])
def test_what_the_padding_holds_changes_nothing(shift, monkeypatch):
    work_whole(monkeypatch)
    layer = make(4, shift).eval()
    x = draw(2, 9, 13, 8).detach()
    expected, filled = layer(x), []

    def pad(input, pad, mode):
        filled.append(pad)
        return pad_with_zeros(input, pad, mode, value=1e3)

    pad_with_zeros = F.pad
    monkeypatch.setattr(F, 'pad', pad)
    assert torch.equal(layer(x), expected)
    assert any(filled[0])


def test_masks_are_built_once_for_a_size_and_serve_any_mode():
    kind = torch.float32, torch.device('cpu')
    with torch.inference_mode():
        kept = window_mask((11, 9), (4, 4), (2, 2), *kind)
    assert window_mask((11, 9), (4, 4), (2, 2), *kind) is kept
    assert kept.shape == (9, 16, 16) and not kept.is_inference()
    assert (kept.diagonal(dim1=1, dim2=2) == 0).all()  # each position sees itself: no softmax of nothing
    assert window_mask((11, 9), (4, 4), (0, 0), *kind) is not None  # the padding
    assert window_mask((8, 12), (4, 4), (0, 0), *kind) is None
    assert window_mask((11, 9), (4, 4), (2, 2), torch.float32, torch.device('meta')).is_meta


def test_a_run_under_fake_tensors_leaves_no_mask_behind():
    arguments = (5, 7), (3, 3), (1, 1), torch.float32, torch.device('cpu')
    module._kept_mask.cache_clear()
    with FakeTensorMode():
        assert isinstance(window_mask(*arguments), FakeTensor)
    kept = window_mask(*arguments)
    assert type(kept) is torch.Tensor and window_mask(*arguments) is kept
    with FakeTensorMode():  # and a kept one is not handed to it
        assert isinstance(window_mask(*arguments), FakeTensor)
