"""Compiled backbones: one graph for the first image size, and one more for all others."""
import pytest
import torch
from cases import ROWS, build
from mmengine.registry import MODELS
from torch._dynamo.testing import CompileCounter


def build_part(name):
    """Two stages, for tracing is slow, of two blocks each: shifted windows are among them."""
    config = ROWS[name].config
    if 'arch' not in config:
        return build(name, out_indices=1)
    settings = MODELS.get(config['type']).arch_settings[config['arch']]
    return build(name, arch=dict(settings, depths=(2, 2, 2, 2)), out_indices=1)


WINDOWS = (112, 168), (101, 97), (130, 150), (168, 224)  # the first and the last are of whole windows, in either stage
POOLED = (112, 168), (101, 97), (130, 150), (165, 221)  # torch compiles its max pooling for odd and for even results


@pytest.mark.slow
@pytest.mark.parametrize('name, sizes', [('swin_t', WINDOWS), ('pvt_s', WINDOWS), ('pvtv2_b2', WINDOWS),
                                         ('dsnet_t', WINDOWS), ('odconv_r18', POOLED)])
def test_no_image_size_compiles_anew_beyond_the_second(name, sizes):
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(build_part(name).eval(), fullgraph=True, backend=counter)
    with torch.no_grad():
        for size in sizes:
            compiled(torch.zeros(1, 3, *size))
    assert counter.frame_count <= 2
