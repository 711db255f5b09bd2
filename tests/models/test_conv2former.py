"""Conv2Former: what its two forms have beside the contract."""
import pytest
import torch
from cases import build
from torch import nn

from mmbackbones.layers import PatchConv2d
from mmbackbones.models import Conv2Former


@pytest.mark.parametrize('height, width', [(8, 6), (7, 6), (8, 5), (7, 5)])
def test_padding_before_a_2x2_convolution_changes_no_position_that_has_all_its_pixels(height, width):
    torch.manual_seed(0)
    conv, x = PatchConv2d(3, 4, 2), torch.randn(2, 3, height, width)
    ours, cut = conv(x), nn.Conv2d.forward(conv, x)
    assert ours.shape[2:] == ((height + 1) // 2, (width + 1) // 2)
    torch.testing.assert_close(ours[:, :, :height // 2, :width // 2], cut)


@pytest.mark.parametrize('name', ['conv2former_n', 'conv2former_n_cifar'])
def test_output_norms_act_on_the_outputs_alone(name):
    torch.manual_seed(0)
    normed, plain = build(name, out_indices=(0, 1)).eval(), build(name, out_indices=(0, 1), output_norm=False).eval()
    plain.load_state_dict({key: normed.state_dict()[key] for key in plain.state_dict()})
    x = torch.randn(1, 3, 32, 32)
    for ours, theirs in zip(normed(x), plain(x)):
        theirs = theirs - theirs.mean(1, keepdim=True)
        torch.testing.assert_close(ours, theirs / (theirs.square().mean(1, keepdim=True) + 1e-6).sqrt())


def test_weights_are_drawn_as_in_the_release():
    torch.manual_seed(0)
    for key, value in build('conv2former_n').named_parameters():
        if value.dim() == 4:
            assert 0.018 < value.std() < 0.022 and abs(value.mean()) < 0.002, key
        elif 'layer_scale' in key:
            assert (value == 1e-6).all(), key
        else:
            assert (value == (0 if key.endswith('bias') else 1)).all(), key


@pytest.mark.parametrize('arguments, message', [
    (dict(arch='huge'), "Conv2Former: no arch='huge'; choose from 'nano', 'tiny'"),
    (dict(arch=dict(depths=(1, 1))), r"arch has the keys \['depths'\], expected \['depths', 'embed_dims', 'form'"),
    (dict(arch=dict(Conv2Former.arch_settings['nano'], form='video')), "form='video'; choose from 'paper', 'cifar'"),
    (dict(drop_path_rate=1.), 'drop_path_rate=1.0 must be at least 0 and below 1'),
])
def test_what_is_out_of_range_is_answered_with_the_choices(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conv2Former(**arguments)
