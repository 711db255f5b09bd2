"""Learning rates by depth: what the optimizer gets for each parameter of a detector or classifier."""
import pytest
from cases import build
from mmengine.optim import build_optim_wrapper
from torch import nn

RATE = 0.5  # powers of it are exact


class Model(nn.Module):
    """As detectors and classifiers are made: a backbone and a head."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))


def groups_of(model, **paramwise):
    """Parameter name -> its group in the optimizer."""
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='mmbackbones.LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
            paramwise_cfg=paramwise))
    group_of = {parameter: group for group in wrapper.optimizer.param_groups for parameter in group['params']}
    return {name: group_of[parameter] for name, parameter in model.named_parameters() if parameter in group_of}


@pytest.fixture
def model():
    return Model(build('odconv_r18'))


def test_rates_grow_block_by_block_and_the_head_has_the_full_one(model):
    groups = groups_of(model, layer_decay_rate=RATE)
    assert set(groups) == {name for name, _ in model.named_parameters()}
    rates = {name: group['lr'] for name, group in groups.items()}
    # 8 blocks: from the last one, half the full rate, down to the first, and the stem below it
    blocks = [(stage, block) for stage in range(1, 5) for block in range(2)]
    for depth, (stage, block) in enumerate(blocks, start=1):
        found = {rate for name, rate in rates.items() if name.startswith(f'backbone.layer{stage}.{block}.')}
        assert found == {1e-3 * RATE**(9 - depth)}
    assert rates['backbone.conv1.weight'] == 1e-3 * RATE**9
    assert rates['head.0.weight'] == rates['head.1.bias'] == 1e-3


def test_other_parameterwise_options_hold_as_ever(model):
    groups = groups_of(
        model, layer_decay_rate=RATE, norm_decay_mult=0., custom_keys={'conv1': dict(lr_mult=0.1, decay_mult=0.5)})
    is_norm = {
        f'{prefix}.{name}'
        for prefix, module in model.named_modules() if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm))
        for name, _ in module.named_parameters()
    }
    for name, group in groups.items():
        expected = 0.025 if 'conv1' in name else 0 if name in is_norm else 0.05
        assert group['weight_decay'] == pytest.approx(expected), name
    assert groups['backbone.conv1.weight']['lr'] == pytest.approx(1e-4 * RATE**9)


def test_frozen_parameters_stay_out():
    groups = groups_of(Model(build('odconv_r18', frozen_stages=1)), layer_decay_rate=RATE)
    assert not any(name.startswith(('backbone.conv1.', 'backbone.layer1.')) for name in groups)
    assert 'backbone.layer2.0.bn1.weight' in groups


@pytest.mark.parametrize('rate', [None, 0, 1.5])
def test_a_rate_that_is_none_or_out_of_range_is_refused(model, rate):
    with pytest.raises(ValueError, match=f'layer_decay_rate={rate}; it must be above 0 and at most 1'):
        groups_of(model, layer_decay_rate=rate)


def test_a_backbone_that_cannot_tell_depths_is_refused():
    with pytest.raises(ValueError, match='Model has the backbone Conv2d, which has no get_layer_depth'):
        groups_of(Model(nn.Conv2d(3, 8, 1)), layer_decay_rate=RATE)
