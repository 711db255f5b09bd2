"""What every backbone must do (docs/contract.md), over every row of the catalogue."""
import copy
import math
import pickle

import pytest
import torch
from cases import FAMILIES, LARGE, ONE_GRAPH, ROWS, SMALLEST, TRAINED, build, build_small, with_libraries
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbackbones.meta import on_meta

SMALLEST_NATIVE = tuple(name for name in SMALLEST if ROWS[name].implementation == 'native')

# class -> a row of few blocks, whose export test_one_graph.py runs for every size
FEW_BLOCKS = {ROWS[name].config['type']: name for name in ONE_GRAPH}


def scalar(maps):
    return sum(out.float().square().mean() for out in maps)


def assert_close(ours, theirs):
    """Float32 rounding apart. Without statistics of their own residual networks grow large in evaluation."""
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * max(1, theirs.abs().max().item()))


def nudge_norms(backbone):
    """Give every norm statistics of its own, so that using them or not makes a difference."""
    generator = torch.Generator().manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return backbone


@pytest.mark.parametrize('name', with_libraries(ROWS))
def test_shapes_channels_and_strides_are_what_it_says(name):
    with on_meta():
        backbone = build(name).eval()
        assert (backbone.out_channels, backbone.out_strides) == (ROWS[name].channels, ROWS[name].strides)
        # how sizes are rounded does not depend on depth and width
        sizes = ((32, 32), (33, 47), (112, 137), (511, 320)) if name in FAMILIES else ((33, 47), )
        for height, width in sizes:
            maps = backbone(torch.empty(1, 3, height, width))
            assert isinstance(maps, tuple)
            assert [tuple(out.shape)
                    for out in maps] == [(1, channels, math.ceil(height / stride), math.ceil(width / stride))
                                         for channels, stride in zip(backbone.out_channels, backbone.out_strides)]


@pytest.mark.parametrize('name', with_libraries(TRAINED))
def test_trains_with_a_finite_gradient_for_every_parameter(name):
    torch.manual_seed(0)
    large = ROWS[name].params > LARGE
    with torch.device('meta' if large else 'cpu'):
        backbone = build(name)
        scalar(backbone(torch.randn(2, 3, 32, 32))).backward()
    without = [key for key, parameter in backbone.named_parameters() if parameter.grad is None]
    assert not without
    assert large or all(parameter.grad.isfinite().all() for parameter in backbone.parameters())


@pytest.mark.parametrize('name', SMALLEST)
def test_any_choice_of_outputs_leaves_no_dead_parameter(name):
    full = build_small(name).eval()
    weights = full.state_dict()
    x = torch.randn(2, 3, 64, 64)
    maps = full(x)
    for out_indices, expected in ((0, (0, )), (-1, (3, )), ((0, -2), (0, 2)), ([1, 3], (1, 3))):
        backbone = build_small(name, out_indices=out_indices).eval()
        assert backbone.out_indices == expected
        assert backbone.out_channels == tuple(full.out_channels[i] for i in expected)
        assert backbone.out_strides == tuple(full.out_strides[i] for i in expected)
        backbone.load_state_dict({key: weights[key] for key in backbone.state_dict()})
        outs = backbone(x)
        assert all(torch.equal(out, maps[i]) for out, i in zip(outs, expected))
        scalar(outs).backward()
        assert all(parameter.grad is not None for parameter in backbone.parameters())


@pytest.mark.parametrize('name', SMALLEST)
@pytest.mark.parametrize('arguments, message', [
    (dict(out_indices=4), 'out_indices=4 is out of range; its stages are 0, 1, 2, 3'),
    (dict(out_indices=(0, -5)), 'out of range'),
    (dict(out_indices=()), 'out of range'),
    (dict(out_indices=(2, 1)), r'the finest map first; write \(1, 2\)'),
    (dict(out_indices=(1, -3)), r'each stage once'),
    (dict(frozen_stages=5), 'frozen_stages=5 is out of range; -1 freezes nothing'),
    (dict(frozen_stages=-2), 'frozen_stages=-2 is out of range'),
    (dict(init_cfg=dict(type='Pretrained', checkpoint='x.pth', map_location='cpu')), "unknown keys.*map_location"),
])  # yapf: disable
def test_bad_arguments_are_named(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        build_small(name, **arguments).init_weights()


@pytest.mark.parametrize('name, arguments, message', [
    ('odconv_r18', dict(depth=77), 'ODConvResNet: no depth=77; choose from 18, 34, 50, 101, 152'),
    ('odconv_r18', dict(depth=dict(depths=(1, 1, 1, 1))), r"has the keys \['depths'\], expected \['block', 'depths'\]"),
    ('odconv_r18', dict(kernel_num=0), 'kernel_num=0, but at least one kernel'),
    ('odconv_r50', dict(style='torch'), "style='torch'; 'pytorch' has .* 'caffe'"),
    ('odconv_mobilenetv2_100', dict(widen_factor=0), 'widen_factor=0 must be positive; published: 1.0, 0.75, 0.5'),
])
def test_unknown_variants_are_answered_with_the_choices(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(name, **arguments)


@pytest.mark.parametrize('name', SMALLEST)
def test_unknown_arguments_are_refused(name):
    with pytest.raises(TypeError, match='num_eyes'):
        build_small(name, num_eyes=3)


@pytest.mark.parametrize('name', with_libraries(FAMILIES))
def test_freezing_stops_gradients_and_statistics_and_only_there(name):
    for frozen_stages in (-1, 0, 2):
        backbone = build_small(name, frozen_stages=frozen_stages)
        frozen = () if frozen_stages < 0 else backbone.stem_names + backbone.stage_names[:frozen_stages]
        before = copy.deepcopy(backbone.state_dict())
        assert backbone.train() is backbone and backbone.eval() is backbone
        backbone.train()
        scalar(backbone(torch.randn(4, 3, 64, 64))).backward()
        for key, parameter in backbone.named_parameters():
            assert (parameter.grad is None) == (key.split('.')[0] in frozen), key
        for key, value in backbone.state_dict().items():
            if key.endswith('running_mean'):
                assert torch.equal(value, before[key]) == (key.split('.')[0] in frozen), key


@pytest.mark.parametrize('name', with_libraries(FAMILIES))
def test_norm_eval_keeps_the_statistics_and_trains_the_rest(name):
    with torch.device('meta'):
        if not has_batch_norm(build_small(name)):
            return  # it is refused, see below
    backbone = nudge_norms(build_small(name, norm_eval=True)).train()
    before = copy.deepcopy(backbone.state_dict())
    maps = backbone(torch.randn(1, 3, 64, 64))  # one image is enough: no statistics are taken
    scalar(maps).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize('name', with_libraries(FAMILIES))
def test_checkpointing_changes_memory_and_nothing_else(name):
    torch.manual_seed(0)
    plain = build_small(name).double()
    saving = build_small(name, with_cp=True).double()
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    results = []
    for backbone in (plain, saving):
        stored = 0

        def count(tensor):
            nonlocal stored
            stored += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            torch.manual_seed(0)  # both drop the same paths
            maps = backbone(x)
            kept = stored
        scalar(maps).backward()
        results.append((maps, [p.grad for p in backbone.parameters()], list(backbone.buffers()), kept))
    for ours, theirs in zip(results[0][:3], results[1][:3]):
        for a, b in zip(ours, theirs):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert results[1][3] < results[0][3] / 2


def test_checkpointing_counts_a_batch_once_in_a_sync_bn_too():
    torch.manual_seed(0)
    norm_cfg = dict(type='SyncBN', momentum=None)  # in one process it is a batch norm, with assertions of its own
    plain, saving = (
        build('odconv_mobilenetv2_050', norm_cfg=norm_cfg, with_cp=with_cp, out_indices=0) for with_cp in (False, True))
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for backbone in (plain, saving):
        for _ in range(2):
            scalar(backbone(x)).backward()
    ours, theirs = saving.state_dict(), plain.state_dict()
    assert {value.item() for key, value in ours.items() if key.endswith('num_batches_tracked')} == {2}
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key])


@pytest.mark.parametrize('name', SMALLEST_NATIVE)
def test_memory_given_after_the_meta_device_is_filled_by_init_weights(name):
    with torch.device('meta'):
        late = build_small(name, out_indices=1)
    late.to_empty(device='cpu')
    for tensor in (*late.parameters(), *late.buffers()):
        tensor.data.fill_(float('nan') if tensor.is_floating_point() else -7)
    torch.manual_seed(0)
    late.init_weights()
    torch.manual_seed(0)
    normal = build_small(name, out_indices=1)
    normal.init_weights()
    for kind in ('named_parameters', 'named_buffers'):
        ours, theirs = (dict(getattr(backbone, kind)()) for backbone in (late, normal))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name


@pytest.mark.parametrize('name', SMALLEST_NATIVE)
def test_no_image_gives_maps_of_no_image(name):
    backbone = build_small(name)
    x = torch.randn(0, 3, 64, 64)
    for mode in (False, True):
        backbone.train(mode)
        maps = backbone(x)
        assert [out.shape for out in maps] == [(0, channels, 64 // stride, 64 // stride)
                                               for channels, stride in zip(backbone.out_channels, backbone.out_strides)]
        with torch.no_grad():
            assert [out.shape for out in backbone(x)] == [out.shape for out in maps]
        sum(out.sum() for out in maps).backward()
        assert all(not parameter.grad.any() for parameter in backbone.parameters())


@pytest.mark.parametrize('name', with_libraries(FAMILIES))
def test_copies_pickles_and_channels_last_give_the_same_maps(name):
    torch.manual_seed(0)
    backbone = nudge_norms(build_small(name)).eval()
    x = torch.randn(2, 3, 64, 80)
    maps = backbone(x)
    for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert all(torch.equal(a, b) for a, b in zip(maps, other(x)))
    for a, b in zip(maps, backbone(x.to(memory_format=torch.channels_last))):
        assert_close(b, a)


@pytest.mark.parametrize('name', SMALLEST)
def test_autocast_gives_close_maps_and_gradients(name):
    torch.manual_seed(0)
    backbone = build_small(name)
    x = torch.randn(4, 3, 32, 32)  # small: without hardware for it, bfloat16 is slow
    with torch.autocast('cpu', torch.bfloat16):
        maps = backbone(x)
        loss = scalar(maps)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in backbone.parameters())
    exact = scalar(backbone(x))
    assert abs(loss.item() / exact.item() - 1) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize('name', SMALLEST)
def test_exports_and_trains_compiled_without_a_graph_break(name):
    torch.manual_seed(0)
    torch._dynamo.reset()  # its limit of recompilations counts those of other tests
    x = torch.randn(2, 3, 64, 64)
    few = FEW_BLOCKS.get(ROWS[name].config['type'])
    if few:
        backbone = nudge_norms(build(few, **ONE_GRAPH[few])).eval()
    else:
        backbone = nudge_norms(build_small(name, out_indices=0)).eval()  # its first stage: tracing is slow
        for a, b in zip(backbone(x), torch.export.export(backbone, (x, )).module()(x)):
            assert_close(b, a)
    backbone.train()
    torch.manual_seed(0)
    maps = copy.deepcopy(backbone)(x)
    torch.manual_seed(0)
    compiled = torch.compile(backbone, fullgraph=True, backend='aot_eager')(x)
    for a, b in zip(maps, compiled):
        assert_close(b, a)
    scalar(compiled).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def has_batch_norm(backbone):
    return any(isinstance(module, _BatchNorm) for module in backbone.modules())


@pytest.mark.parametrize('name', with_libraries(FAMILIES))
def test_norm_eval_is_refused_without_a_batch_norm(name):
    with torch.device('meta'):
        if has_batch_norm(build_small(name)):
            assert build_small(name, norm_eval=True).norm_eval
        else:
            with pytest.raises(ValueError, match='norm_eval=True is for batch norms, and there are none'):
                build_small(name, norm_eval=True)


@pytest.mark.parametrize('name', [name for name in SMALLEST if ROWS[name].implementation == 'native'])
def test_norm_cfg_chooses_the_norms(name):
    """All batch norms, or where there are none by default, layer norms."""
    with torch.device('meta'):
        kind = 'BN' if has_batch_norm(build_small(name)) else 'LN'
        key = 'stem_norm_cfg' if 'Conv2Former' in ROWS[name].config['type'] else 'norm_cfg'
        backbone = build_small(name, **{key: dict(type=kind, eps=0.25)})
    norms = {
        key: module.eps
        for key, module in backbone.named_modules() if isinstance(module, _BatchNorm if kind == 'BN' else nn.LayerNorm)
        and not key.startswith('pyramid.')  # of ViTDet's pyramid, which has norms of its own
        and not key.endswith('.attention.bn')  # of a dynamic convolution
    }
    # PVT's embeddings and reduced maps keep the eps of the authors' code
    kept = {key for key in norms if 'PyramidVision' in ROWS[name].config['type'] and norms[key] == 1e-5}
    assert len(kept) < len(norms)
    assert all(eps == 0.25 for key, eps in norms.items() if key not in kept)
