"""Figures: every number in the catalogue is counted again, and held against the published one."""
import json
import resource
import subprocess
import sys

import pytest
import torch
from cases import ROWS, build, with_libraries
from helpers import ROOT
from mmengine.registry import MODELS

from mmbackbones.catalogue import NOT_YET, find_backbone, load_catalogue, parse_figure
from mmbackbones.catalogue.complexity import count_complexity, count_params
from mmbackbones.cli import main
from mmbackbones.meta import on_meta

# Networks of timm that share a paper's name, or nearly so, and are others.
LOOK_ALIKES = ('densenet264d', 'skresnet50', 'xception41', 'xception65', 'xception71', 'darknet17', 'darknet21',
               'botnet50ts', 'botnet26t', 'coatnet_')

# The published static networks (ODConv release): config, channels of the last map, params M, MACs.
# ResNet-50 and -101 are counted with the stride in the 1x1 convolution there.
STATIC = {
    'ResNet18': (dict(type='mmdet.ResNet', depth=18), 512, '11.69', '1.814G'),
    'ResNet50': (dict(type='mmdet.ResNet', depth=50, style='caffe'), 2048, '25.56', '3.858G'),
    'ResNet101': (dict(type='mmdet.ResNet', depth=101, style='caffe'), 2048, '44.55', '7.570G'),
    'MobileNetV2 1.0': (dict(type='mmdet.MobileNetV2', widen_factor=1.0, out_indices=(7, )), 1280, '3.50', '300.8M'),
    'MobileNetV2 0.75': (dict(type='mmdet.MobileNetV2', widen_factor=0.75, out_indices=(7, )), 1280, '2.64', '209.1M'),
    'MobileNetV2 0.5': (dict(type='mmdet.MobileNetV2', widen_factor=0.5, out_indices=(7, )), 1280, '1.97', '97.1M'),
}


def as_printed(value: float, printed: str) -> str:
    """A number with as many decimals as the published one."""
    number = printed.rstrip('GM')
    unit = parse_figure(printed) / float(number)
    return f'{value / unit:.{len(number.partition(".")[2])}f}{printed[len(number):]}'


@pytest.mark.parametrize('name', STATIC)
def test_static_networks_have_the_published_counts_to_the_last_digit(name):
    config, channels, params, macs = STATIC[name]
    with on_meta():
        backbone = MODELS.build(config)
        backbone.out_channels = (channels, )
        counted = count_complexity(backbone, (224, 224), num_classes=1000)
    assert (as_printed(counted.params, params), as_printed(counted.macs, macs)) == (params, macs)


def count(name: str, **kwargs):
    """Parameters and MACs of a row as its paper counts them: with the paper's classifier."""
    row = ROWS[name]
    with on_meta():
        counted = count_complexity(build(name, **kwargs), (row.input_size, ) * 2, num_classes=row.num_classes)
    return counted.params + row.head_params, counted.macs + row.head_macs


@pytest.mark.parametrize('name', with_libraries(ROWS))
def test_rows_hold_what_is_counted(name):
    assert (ROWS[name].params, ROWS[name].macs) == count(name)


def test_figures_are_the_published_ones_or_the_note_says_how_far_they_differ():
    lines, unsaid = [f'{"":32}{"counted":>10}{"published":>11}{"difference":>12}'], []
    for name, row in ROWS.items():
        # the published ResNet-50 and -101 of these papers have the stride in the 1x1 convolution
        caffe = row.config.get('depth', 0) >= 50 and 'style=caffe' in row.note
        figures = count(name, style='caffe') if caffe else (row.params, row.macs)
        for what, published, counted in zip(('params', 'MACs'), (row.paper_params, row.paper_macs), figures):
            if published is None or as_printed(counted, published) == published:
                continue
            difference = f'{100 * (counted / parse_figure(published) - 1):+.2f} %'
            lines.append(f'{name:32}{as_printed(counted, published):>10}{published:>11}{difference:>12}')
            if difference not in row.note:
                unsaid.append(f'{name}: the note must state {what} {difference}')
    print('\n'.join(lines))
    assert not unsaid


def test_counting_changes_nothing_and_follows_the_input_size():
    backbone = build('odconv4x_r18').train()
    params = count_params(backbone)
    small, large = (count_complexity(backbone, size).macs for size in ((224, 224), (448, 448)))
    assert backbone.training and count_params(backbone) == params
    assert not any(module._forward_hooks for module in backbone.modules())
    kernels = 2 * sum(m.weight.numel() for m in backbone.modules() if hasattr(m, 'kernel_num'))
    heads = sum(m.weight.numel() for name, m in backbone.named_modules() if '.attention.' in name and 'fc' in name)
    # four times the pixels: everything grows by four but the making of the kernels
    assert large == 4 * small - 3 * (kernels + heads)


def listed(capsys, *arguments) -> set:
    """The names that ``mmbackbones list`` gives."""
    assert main(['list', '--json', *arguments]) == 0
    return {row['name'] for row in json.loads(capsys.readouterr().out)}


def test_list_shows_all_rows_and_filters_them(capsys):
    assert main(['list']) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    for row in load_catalogue():
        assert lines[row.name].endswith(row.implementation)
    assert listed(capsys, '--family', 'dyconv') == {name for name in ROWS if name.startswith('dyconv')}
    assert listed(capsys, '--family', 'pvt') == {'pvt_t', 'pvt_s', 'pvt_m', 'pvt_l'}  # the name itself, not PVTv2
    inception = listed(capsys, '--family', 'inception')  # four papers
    assert {'googlenet', 'bn_inception', 'inception_v3', 'inception_resnet_v2'} <= inception
    assert all(find_backbone(name).family.startswith('Inception') for name in inception)
    small = listed(capsys, '--max-params', '3', '--max-macs', '0.1', '--document', '001', '--implementation', 'timm')
    assert {'ghostnet_050', 'mobilenetv3_small_075'} <= small
    assert all(ROWS[name].params <= 3e6 and ROWS[name].macs <= 1e8 for name in small)
    # what is not there yet is held against the published figures
    missing = listed(capsys, '--implementation', NOT_YET, '--max-params', '1')
    assert 'micronet_m0' in missing and 'peleenet' not in missing
    assert main(['list', '--family', 'cnn']) == 1
    assert "no family 'cnn'" in capsys.readouterr().err
    assert main(['list', '--max-params', '0']) == 1
    assert 'passes all of these filters' in capsys.readouterr().err


def test_info_says_what_a_backbone_is(capsys):
    assert main(['info', 'odconv4x_r50']) == 0
    shown = capsys.readouterr().out
    assert '90.67' in shown and "backbone=dict(type='mmbackbones.ODConvResNet', depth=50, kernel_num=4)" in shown
    assert main(['info', 'swsl_resnet50']) == 0
    shown = capsys.readouterr().out
    assert 'named in   document 001' in shown and '+2.23 %' in shown
    assert shown.endswith("backbone:\n\npretrained='fb_swsl_ig1b_ft_in1k'\n")  # a row of weights has those alone
    assert main(['info', 'inception_v3']) == 0  # weights of two kinds
    shown = capsys.readouterr().out
    assert 'mean 127.5/127.5/127.5 and deviation' in shown and "\npretrained='tv_in1k'\n" in shown
    assert "\npretrained='gluon_in1k', for pixels of mean 123.675/116.28/103.53 and deviation 58.395/" in shown
    assert main(['info', 'odconv_r5']) == 1
    assert 'did you mean odconv_r50' in capsys.readouterr().err


def test_rows_that_are_not_there_yet_claim_nothing_and_say_why(tmp_path, capsys):
    missing = [row for row in load_catalogue() if row.config is None]
    assert {row.name for row in missing} == listed(capsys, '--implementation', NOT_YET)
    for row in missing:
        assert (row.params, row.macs, row.channels, row.strides) == (None, None, (), ()) and row.note, row.name
    assert main(['info', missing[0].name]) == 0
    assert 'no config can build it' in capsys.readouterr().out
    assert main(['convert', missing[0].name, 'theirs.pth', str(tmp_path / 'ours.pth')]) == 1
    assert f'{missing[0].name} is not yet there' in capsys.readouterr().err


def test_no_look_alike_is_offered_under_a_papers_name():
    names = {row.name: str((row.config or {}).get('model_name', '')) for row in load_catalogue()}
    assert not {name: model for name, model in names.items() if model.startswith(LOOK_ALIKES)}
    assert find_backbone('sknet50').config['model_name'] == 'skresnext50_32x4d'


def test_list_takes_less_than_half_a_second_and_loads_no_torch():
    code = "import sys; from mmbackbones.cli import main; main(['list']); sys.exit('torch' in sys.modules)"
    seconds = []
    for _ in range(3):  # of the processor: the clock counts what else the machine does
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, '-c', code], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


def test_convert_writes_our_names_and_overwrites_nothing(tmp_path, capsys):
    from upstream import seeded_state_dict
    source, target = tmp_path / 'theirs.pth', tmp_path / 'ours.pth'
    weights = {key: value.float() for key, value in seeded_state_dict('odconv_mobilenetv2').items()}
    # one kernel of the two: the catalogue's row
    weights = {
        key: value[:1] if value.dim() == 5 else value
        for key, value in weights.items() if 'kernel_fc' not in key
    }
    torch.save(dict(state_dict=weights), source)
    assert main(['convert', 'odconv_mobilenetv2_100', str(source), str(target)]) == 0
    written = target.read_bytes()
    build('odconv_mobilenetv2_100').load_pretrained(str(target))
    assert main(['convert', 'odconv_mobilenetv2_100', str(source), str(target)]) == 1
    assert '--force overwrites' in capsys.readouterr().err
    assert main(['convert', 'odconv_mobilenetv2_075', str(source), str(target), '--force']) == 1
    assert 'of another shape' in capsys.readouterr().err
    assert target.read_bytes() == written
    assert {path.name for path in tmp_path.iterdir()} == {'theirs.pth', 'ours.pth'}


def test_the_model_zoo_page_follows_the_catalogue():
    import runpy
    root = ROOT
    page = runpy.run_path(str(root / 'tools' / 'model_zoo.py'))['render']()
    assert (root / 'docs' / 'model_zoo.md').read_text() == page, 'run: python tools/model_zoo.py'
