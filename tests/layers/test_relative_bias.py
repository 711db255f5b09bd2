"""Relative attention against its formula, pair by pair, with gradients."""
import pytest
import torch
from reference.relative_bias import relative_attention as slow_attention
from reference.relative_bias import relative_position_bias as slow_bias

from mmbackbones.layers import multi_head_attention, relative_position_bias, resize_positions


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize('height, width', [(1, 1), (1, 4), (3, 3), (4, 5)])
def test_the_bias_of_a_pair_is_the_tables_at_its_offset(height, width):
    torch.manual_seed(0)
    table = random(2, 2 * height - 1, 2 * width - 1)
    bias, expected = (spread(table, height, width) for spread in (relative_position_bias, slow_bias))
    assert torch.equal(bias, expected)
    weights = torch.randn_like(bias)
    for ours, theirs in zip(*(torch.autograd.grad((b * weights).sum(), table) for b in (bias, expected))):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_attention_with_the_bias_is_the_formula():
    torch.manual_seed(0)
    height, width, heads = 3, 4, 2
    inputs = [random(2, height * width, 6) for _ in range(3)] + [random(heads, 2 * height - 1, 2 * width - 1)]
    q, k, v, table = inputs
    out = multi_head_attention(q, k, v, heads, relative_position_bias(table, height, width)[None])
    expected = slow_attention(q, k, v, table, height, width)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(out)
    for ours, theirs in zip(*(torch.autograd.grad((o * weights).sum(), inputs) for o in (out, expected))):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_an_interpolated_table_keeps_its_middle_and_its_symmetry():
    torch.manual_seed(0)
    table = torch.randn(1, 2, 13, 13, dtype=torch.float64)
    table = table + table.flip(-2, -1)  # the same for i - j and j - i
    bias = relative_position_bias(resize_positions(table, (9, 21), 'bilinear')[0], 5, 11)
    torch.testing.assert_close(bias, bias.transpose(1, 2), rtol=1e-12, atol=1e-12)
    # positions next to each other see themselves as those of the table's own size do
    torch.testing.assert_close(bias.diagonal(dim1=1, dim2=2), table[0, :, 6, 6, None].expand(2, 55))
