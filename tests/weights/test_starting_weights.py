"""Weights at every entrance: found whatever they are packed in, fitting as a whole or refused part by part."""
import copy
import functools
import re
import types
from collections import OrderedDict

import pytest
import torch
from cases import build
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from upstream import FAMILIES, seeded_state_dict

from mmbackbones import training
from mmbackbones.config.tree import find_root
from mmbackbones.errors import UserError
from mmbackbones.hooks import StartingWeightsHook
from mmbackbones.training.start import (check_initial_weights, check_named_weights, check_resumable, choose_start,
                                        load_whole, set_backbone_weights, set_partial, warn_of_random_backbone)
from mmbackbones.weights import (CheckpointError, check_own_loaders, containers, read_checkpoint, reading,
                                 use_strict_initializers)
from mmbackbones.weights.parts import backbones_of

SWIN = FAMILIES['swin']
SWIN_CONFIG = dict(type='mmbackbones.SwinTransformer', arch=SWIN['arch'], window_size=SWIN['window_size'])
TWICE = 2.


def swin_weights(factor: float = 1.) -> dict:
    """Weights of the authors' detection code, which have all that the backbone has."""
    return {key: factor * value.float() for key, value in seeded_state_dict('swin').items()}


def below(prefix: str, weights: dict) -> dict:
    return {f'{prefix}{key}': value for key, value in weights.items()}


def say_no(run, *args, **kwargs) -> str:
    """What an error says, which must be one line."""
    with pytest.raises(UserError) as error:
        run(*args, **kwargs)
    assert '\n' not in str(error.value)
    return str(error.value)


# What files hold, and how often the values of the weights themselves are taken; an average has them twice.
ONE, AVERAGE = swin_weights(), swin_weights(TWICE)
CONTAINERS = {
    'bare': (ONE, 1),
    'state_dict': (dict(state_dict=ONE, epoch=3), 1),
    'net': (dict(net=ONE), 1),
    'a key nobody has thought of': (dict(bag=dict(inner=ONE)), 1),
    'DataParallel': (dict(model=below('module.', ONE)), 1),
    'compiled': (dict(state_dict=below('_orig_mod.', ONE)), 1),
    'a compiled part': (dict(state_dict=below('backbone._orig_mod.', ONE)), 1),
    'a classifier of several parts': (dict(model=below('swin.', ONE)), 1),
    'a detector': (dict(state_dict={
        **below('backbone.', ONE), 'neck.weight': torch.ones(2)
    }), 1),
    'weights beside their average': (dict(state_dict_ema=AVERAGE, state_dict=ONE), 1),
    'another name of the average': (dict(model=ONE, model_ema=dict(module=AVERAGE)), 1),
    'an average alone': (dict(model_ema=AVERAGE), TWICE),
    'contrastive learning':
    (dict(model={
        **below('encoder.', ONE),
        **below('encoder_k.', AVERAGE), 'projector.weight': torch.ones(2)
    }), 1),
    'optimizer beside them': (dict(state_dict=ONE, optimizer=dict(state={0: dict(exp_avg=torch.ones(3))})), 1),
    'twins': (dict(student=below('module.backbone.', ONE), teacher=below('backbone.', ONE)), 1),
}

# of these the log says that they were passed over
AVERAGES = {
    'weights beside their average': 'state_dict_ema.',
    'another name of the average': 'model_ema.module.',
    'contrastive learning': 'model.encoder_k.'
}


@pytest.mark.parametrize('case', CONTAINERS)
def test_weights_are_found_whatever_they_are_packed_in(case, tmp_path, monkeypatch):
    content, factor = CONTAINERS[case]
    torch.save(content, tmp_path / 'file.pth')
    backbone, expected, said = build(**SWIN), build(**SWIN), []
    monkeypatch.setattr('mmbackbones.models._base.print_log', lambda line, **_: said.append(line))
    backbone.load_pretrained(str(tmp_path / 'file.pth'))
    torch.save(swin_weights(factor), tmp_path / 'expected.pth')
    expected.load_pretrained(str(tmp_path / 'expected.pth'))
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in backbone.state_dict().items())
    assert f'not from the average in {AVERAGES[case]}' in said[0] if case in AVERAGES else 'average' not in said[0]


def test_of_a_student_and_a_teacher_one_must_be_named(tmp_path):
    path = str(tmp_path / 'dino.pth')
    torch.save(dict(student=below('module.backbone.', ONE), teacher=below('backbone.', AVERAGE)), path)
    backbone = build(**SWIN)
    said = say_no(backbone.load_pretrained, path)
    assert 'student.module.backbone, teacher.backbone' in said and 'FILE::teacher.backbone' in said
    for source, prefix, factor in ((f'{path}::teacher', None, TWICE), (f'{path}::student.module', None, 1),
                                   (path, 'teacher.backbone.', TWICE)):
        backbone.load_pretrained(source, prefix)
        assert torch.equal(backbone.norm0.weight, factor * ONE['norm0.weight'])
    said = say_no(backbone.load_pretrained, f'{path}::nobody')
    assert "Nothing in it lies below 'nobody.'" in said
    assert f'student.module.backbone. ({len(ONE)}), teacher.backbone. ({len(ONE)})' in said


@functools.lru_cache(None)
def faster_rcnn() -> Config:
    return Config.fromstring("_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'", '.py')


def detector(num_classes: int = 3, backbone: dict = SWIN_CONFIG, channels=(16, 32, 64, 128)) -> Config:
    """A Faster R-CNN of few weights."""
    cfg = copy.deepcopy(faster_rcnn())
    model = cfg.model
    model.backbone = dict(backbone)
    model.neck.update(in_channels=list(channels), out_channels=8)
    model.rpn_head.update(in_channels=8, feat_channels=8)
    model.roi_head.bbox_roi_extractor.out_channels = 8
    model.roi_head.bbox_head.update(in_channels=8, fc_out_channels=8, num_classes=num_classes)
    return cfg


def make(cfg: Config):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(copy.deepcopy(cfg.model))


MMDET_SWIN = dict(type='SwinTransformer', window_size=SWIN['window_size'], **SWIN['arch'])


def checkpoint_of(cfg: Config, factor: float = 1.) -> dict:
    """What training of a detector saves."""
    weights = make(cfg).state_dict()
    return dict(meta=dict(), state_dict=OrderedDict((key, value * factor if value.is_floating_point() else value)
                                                    for key, value in weights.items()))  # yapf: disable


def to_authors(weights: dict) -> dict:
    """MMDetection's names of Swin -> those of the authors' detection code."""
    for theirs, ours in (('backbone.stages', 'backbone.layers'), ('.attn.w_msa.', '.attn.'),
                         ('.ffn.layers.0.0.', '.mlp.fc1.'), ('.ffn.layers.1.', '.mlp.fc2.'), ('projection', 'proj')):
        weights = {key.replace(theirs, ours): value for key, value in weights.items()}
    return weights


def start(model, checkpoint, **kwargs):
    """Load as the runner does, after the hook; returns what the hook found."""
    hook, runner = StartingWeightsHook('file.pth', **kwargs), types.SimpleNamespace(model=model)
    report = hook.find(runner, checkpoint)
    hook.after_load_checkpoint(runner, checkpoint)
    _load_checkpoint_to_model(model, checkpoint)
    return report


@pytest.fixture(scope='module')
def theirs() -> dict:
    return checkpoint_of(detector(backbone=MMDET_SWIN))['state_dict']


@pytest.mark.parametrize('names', [dict, to_authors], ids=['mmdet', 'authors'])
@pytest.mark.parametrize('teacher', [False, True], ids=['detector', 'teacher and student'])
def test_a_whole_detector_with_the_backbone_names_of_others_is_loaded(names, teacher, theirs, tmp_path):
    checkpoint = dict(state_dict=names(theirs))
    torch.save({key: value for key, value in names(theirs).items() if key.startswith('backbone.')}, tmp_path / 'b.pth')
    backbone = build(**SWIN)
    backbone.load_pretrained(str(tmp_path / 'b.pth'))
    cfg = detector()
    if teacher:
        inner = cfg.model
        cfg = Config(dict(model=dict(type='SoftTeacher', detector=inner, semi_train_cfg={}, semi_test_cfg={})))
    model = make(cfg)
    report = start(model, checkpoint)
    assert len(backbones_of(model)) == 1 + teacher
    for name, each in backbones_of(model).items():
        assert all(torch.equal(value, backbone.state_dict()[key]) for key, value in each.state_dict().items())
        total = len(backbone.state_dict())
        assert f'{name} {total} of {total}, {name[:-len("backbone")]}neck 16 of 16' in report.summary()


def test_a_detector_of_other_classes_needs_the_switch_and_keeps_its_own_head():
    checkpoint = checkpoint_of(detector(80), TWICE)
    model = make(detector(3))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    said = say_no(start, model, copy.deepcopy(checkpoint), remedy='pass --partial-weights')
    assert 'neck 16 of 16, rpn_head 6 of 6, roi_head 4 of 8 (4 of another shape: ' in said
    assert 'roi_head.bbox_head.fc_cls.weight is (81, 8), expected (4, 8)' in said and 'pass --partial-weights' in said
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    given = dict(checkpoint['state_dict'])
    start(model, checkpoint, partial=True)
    for key, value in model.state_dict().items():
        reshaped = key.startswith(('roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg'))
        assert torch.equal(value, before[key] if reshaped else given[key]), key


def _spoil(value: float):

    def change(weights: dict) -> dict:
        weights['neck.fpn_convs.1.conv.bias'] = torch.full((8, ), value)
        return weights

    return change


def _without(part: str):
    return lambda weights: {key: value for key, value in weights.items() if not key.startswith(part)}


# what is done to the detector's own weights, whether the switch is given, and what the error says
REFUSED = {
    'another backbone': (lambda weights: {key.replace('layer', 'stage'): value for key, value in weights.items()
                                          if 'patch' not in key and 'norm' not in key.split('.')[1]}, True,
                         'nothing in it fits the backbone'),
    'no head': (_without('rpn_head.'), False, 'rpn_head 0 of 6 \\(6 missing: rpn_head.rpn_conv.weight'),
    'a part too many': (lambda weights: {**weights, 'mask_head.weight': torch.ones(2)}, False,
                        '1 not expected: mask_head.weight'),
    'quantised': (lambda weights: {**weights, 'neck.fpn_convs.1.conv.bias': torch.ones(8, dtype=torch.int8)}, False,
                  r'fpn_convs.1.conv.bias is \(8,\) of torch.int8, expected \(8,\) of torch.float32'),
    'names that are no names': (lambda weights: {'a\n' + 'b.' * 50000: torch.ones(1)}, False,
                                r'no key matches FasterRCNN. It has .*a\\nb.b.b.*\.\.\.; expected'),
    'nothing': (lambda weights: {}, True, 'no key matches FasterRCNN. It has nothing'),
    'NaN': (_spoil(float('nan')), False, 'NaN or infinite values: neck.fpn_convs.1.conv.bias'),
    'infinite, with the switch': (_spoil(float('-inf')), True, 'NaN or infinite values: neck.fpn_convs.1.conv.bias'),
}  # yapf: disable


def test_tables_of_other_sizes_are_interpolated_in_fine_tuning_alone():
    checkpoint = checkpoint_of(detector(backbone=dict(SWIN_CONFIG, window_size=5)))
    model = make(detector())
    assert 'other sizes: backbone.layer1.0.attn.relative' in say_no(start, model, copy.deepcopy(checkpoint))
    assert '8 interpolated: backbone.layer1.0.attn.' in start(model, checkpoint, resize=True).summary()


@pytest.mark.parametrize('case', REFUSED)
def test_what_does_not_fit_a_detector_is_refused_by_its_parts(case):
    change, partial, expected = REFUSED[case]
    model = make(detector())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    said = say_no(start, model, dict(state_dict=change(dict(model.state_dict()))), partial=partial)
    assert re.search(expected, said) and len(said) < 2000
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# Modules of others: config, and how their weights are published. Plain ones, and ones with layers that no published
# weights have; the last three load in a way of their own.
RESNET = dict(type='mmdet.ResNet', depth=50, base_channels=4, stem_channels=4)
PLUGIN = dict(cfg=dict(type='ContextBlock', ratio=1 / 4), stages=(False, True, True, True), position='after_conv3')
OTHERS = {
    'resnet': (RESNET, RESNET),
    'deformable': (dict(RESNET, dcn=dict(type='DCNv2', deform_groups=1), stage_with_dcn=(False, True, True, True)),
                   RESNET),
    'plugins': (dict(RESNET, plugins=[PLUGIN]), RESNET),
    'neck': (dict(type='mmdet.FPN', in_channels=[8, 8], out_channels=8, num_outs=3), ) * 2,
    'convnext': (dict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8]),
                      out_indices=(0, 1, 2, 3), gap_before_final_norm=False),
                 dict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8]))),
    'switchable atrous': (dict(RESNET, type='mmdet.DetectoRS_ResNet', conv_cfg=dict(type='ConvAWS'),
                               sac=dict(type='SAC', use_deform=True), stage_with_sac=(False, True, True, True)),
                          RESNET),
    'swin': (dict(MMDET_SWIN, type='mmdet.SwinTransformer'), ) * 2,
    'pvt': (dict(type='mmdet.PyramidVisionTransformerV2', embed_dims=8, num_layers=[1, 1, 1, 1],
                 num_heads=[1, 1, 2, 4]), ) * 2,
}  # yapf: disable
PREFIXED = {'swin': 'backbone.', 'neck': 'neck.'}


def initialise(config: dict, file, **kwargs) -> torch.nn.Module:
    use_strict_initializers()
    init_cfg = Config(dict(init=dict(type='Pretrained', checkpoint=str(file), **kwargs))).init
    model = torch.nn.Sequential(MODELS.build(dict(config, init_cfg=init_cfg)))
    check_own_loaders(model, kwargs.get('partial', False))
    model[0].init_weights()
    return model[0]


@pytest.mark.parametrize('case', OTHERS)
def test_modules_of_other_packages_load_all_or_say_what_is_missing(case, tmp_path):
    config, published = OTHERS[case]
    weights = {
        key: torch.randn_like(value) if value.is_floating_point() else value
        for key, value in MODELS.build(dict(published)).state_dict().items()
    }
    prefix = PREFIXED.get(case, '')
    files = {name: tmp_path / f'{name}.pth' for name in ('good', 'short', 'foreign', 'nan')}
    torch.save(dict(state_dict={**below(prefix, weights), 'head.weight': torch.ones(2)}), files['good'])
    module = initialise(config, files['good'])
    for key, value in module.state_dict().items():
        if key in weights and value.is_floating_point():
            assert torch.equal(value, weights[key]), key
        assert not value.is_floating_point() or value.isfinite().all(), key
    first = next(key for key, value in weights.items() if value.dim() == 4)
    torch.save(
        dict(state_dict=below(prefix, {
            key: each
            for key, each in weights.items() if key != first
        })), files['short'])
    torch.save(
        dict(state_dict=below('other.', {
            f'{key}.x': value
            for key, value in weights.items()
        })), files['foreign'])
    torch.save(dict(state_dict=below(prefix, {**weights, first: weights[first] * float('nan')})), files['nan'])
    assert f' missing: {first}' in say_no(initialise, config, files['short'])
    assert any(
        words in say_no(initialise, config, files['foreign'])
        for words in ('no key matches', 'takes nothing', 'does not understand'))
    assert any(words in say_no(initialise, config, files['nan']) for words in ('NaN', f' missing: {first}'))
    initialise(config, files['short'], partial=True)


def test_a_missing_prefix_and_a_missing_file_are_one_line(tmp_path):
    torch.save(MODELS.build(dict(RESNET)).state_dict(), tmp_path / 'bare.pth')
    assert "Nothing in it lies below 'backbone.'" in say_no(
        initialise, RESNET, tmp_path / 'bare.pth', prefix='backbone')
    assert 'no such file' in say_no(initialise, RESNET, tmp_path / 'none.pth')


def test_a_teachers_checkpoint_must_fit_the_teacher(tmp_path):
    teacher = make(detector())
    for name, weights in (('good', teacher.state_dict()), ('bad', dict(state_dict=below('other.', ONE)))):
        torch.save(weights, tmp_path / f'{name}.pth')
        model = torch.nn.Module()
        model.teacher_model = make(detector())
        cfg = Config(dict(model=dict(teacher_ckpt=str(tmp_path / f'{name}.pth'))))
        runner = types.SimpleNamespace(model=model, cfg=cfg)
        if name == 'bad':
            assert 'model.teacher_ckpt' in say_no(check_initial_weights, runner)
            continue
        check_initial_weights(runner)
        assert torch.equal(model.teacher_model.backbone.norm0.weight, teacher.backbone.norm0.weight)


TIMM = dict(type='mmbackbones.TimmBackbone', model_name='resnet18')
# a change to a config, and what is said of it
NAMED = {
    'load_from empty': (dict(load_from=''), "load_from='' names no checkpoint"),
    'load_from of spaces': (dict(load_from='  '), 'names no checkpoint'),
    'load_from a folder': (dict(load_from='/'), 'load_from: / is a folder'),
    'load_from a device': (dict(load_from='/dev/null'), '/dev/null: no regular file'),
    'load_from missing': (dict(load_from='none.pth'), 'load_from: none.pth: no such file'),
    'checkpoint empty': ({
        'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='')
    }, "model.backbone.init_cfg.checkpoint='' names no"),
    'checkpoint None': ({
        'model.neck.init_cfg': dict(type='Pretrained', checkpoint=None)
    }, 'model.neck.init_cfg.checkpoint=None names no'),
    'checkpoint left out': ({
        'model.backbone.init_cfg': [dict(type='Pretrained')]
    }, r'model.backbone.init_cfg\[0\].checkpoint=None'),
    'checkpoint missing': ({
        'model.neck.init_cfg': dict(type='Pretrained', checkpoint='a/b.pth')
    }, 'a/b.pth: no such'),
    'checkpoint in ours': ({
        'model.backbone': dict(TIMM, init_cfg=dict(type='Pretrained', checkpoint=''))
    }, 'names no'),
    'class as type': ({
        'model.neck.init_cfg': dict(type='mmengine.model.PretrainedInit', checkpoint='')
    }, 'names no'),
    'without a type': ({
        'model.backbone.init_cfg': dict(checkpoint='none.pth')
    }, 'none.pth: no such file'),
    'teacher': ({
        'model.teacher_ckpt': ''
    }, "model.teacher_ckpt='' names no"),
    'pretrained=True': ({
        'model.backbone.pretrained': True
    }, r'model.backbone.pretrained=True names no weights: write, in its place, init_cfg='),
    'pretrained=True in ours': ({
        'model.backbone': dict(TIMM, pretrained=True)
    }, 'write pretrained=NAME, of weights'),
    'pretrained missing': ({
        'model.backbone.pretrained': 'none.pth'
    }, 'pretrained: none.pth: no such file'),
    'file of ours missing': ({
        'model.backbone': dict(TIMM, init_cfg=dict(type='Pretrained', checkpoint='no/b.pth'))
    }, 'no/b.pth: no such file'),
    'pretrained empty': ({
        'model.backbone.pretrained': ''
    }, "pretrained='' names no weights"),
}


@pytest.mark.parametrize('case', NAMED)
def test_every_name_of_a_checkpoint_in_a_config_is_looked_at(case):
    change, expected = NAMED[case]
    cfg = detector(backbone=RESNET)
    check_named_weights(cfg)
    cfg.merge_from_dict(change, allow_list_keys=False)
    for key, value in change.items():  # merged dicts keep what they replace
        if key.endswith(('init_cfg', 'backbone')):
            owner = cfg.model if key.count('.') == 1 else cfg.model[key.split('.')[1]]
            owner[key.rpartition('.')[2]] = value
    with pytest.raises(CheckpointError, match=expected):
        check_named_weights(cfg)


def test_what_may_stand_in_a_config_stays():
    cfg = detector(backbone=dict(RESNET, init_cfg=None, pretrained=None))
    cfg.model.neck.init_cfg = dict(type='Pretrained', checkpoint='torchvision://resnet50')
    cfg.model.other = dict(type='mmpretrain.TIMMBackbone', model_name='resnet18', pretrained=True)
    cfg.model.named = dict(TIMM, pretrained='a1_in1k')
    cfg.model.published = dict(
        type='mmbackbones.TorchvisionBackbone', init_cfg=dict(type='Pretrained', checkpoint='IMAGENET1K_V1'))
    before = cfg.pretty_text
    check_named_weights(cfg)
    assert cfg.pretty_text == before
    set_partial(cfg)
    assert cfg.model.neck.init_cfg.partial and 'partial' not in cfg.model.named


@pytest.mark.parametrize('pretrained', [True, False, '', 3])
def test_our_backbones_say_what_pretrained_takes(pretrained):
    with pytest.raises(ValueError, match='pretrained=.* names no weights; write'):
        build('mobilenetv3_small_075' if pretrained == 3 else 'squeezenet1_1', pretrained=pretrained)


def test_backbone_weights_find_the_backbone_wherever_it_is(tmp_path, capsys):
    file = tmp_path / 'w.pth'
    torch.save(ONE, file)
    inner = detector().model
    places = {
        ('model', ): dict(inner),
        ('model', 'detector'): dict(type='SoftTeacher', detector=dict(inner), semi_train_cfg={}, semi_test_cfg={}),
        ('model', 'module'): dict(type='DetTTAModel', module=dict(inner)),
        ('model', 'outer', 'detector'): dict(type='A', outer=dict(type='B', detector=dict(inner), reid=dict(inner))),
    }
    for root, model in places.items():
        cfg = Config(dict(model=copy.deepcopy(model), default_scope='mmdet'))
        assert find_root(cfg) == root
        warn_of_random_backbone(cfg)
        assert 'random weights' in capsys.readouterr().out
        set_backbone_weights(cfg, f'{file}::teacher')
        part = cfg
        for key in root:
            part = part[key]
        assert part.backbone.init_cfg == dict(type='Pretrained', checkpoint=str(file), prefix='teacher')
        warn_of_random_backbone(cfg)
        assert 'random weights' not in capsys.readouterr().out
    teacher = Config(dict(model=places['model', 'detector']))
    set_backbone_weights(teacher, str(file))
    model = make(teacher)
    model.init_weights()
    for each in (model.student, model.teacher):
        assert torch.equal(each.backbone.norm0.weight, ONE['norm0.weight'])
    for change, words in ((dict(load_from=str(file)), 'load_from of the config'), ({
            'model.detector.init_cfg':
            dict(type='Pretrained', checkpoint='x.pth')
    }, 'model.detector.init_cfg of the config')):
        cfg = Config(copy.deepcopy(dict(model=places['model', 'detector'])))
        cfg.merge_from_dict(change)
        assert words in say_no(set_backbone_weights, cfg, str(file))
    assert 'no backbone' in say_no(set_backbone_weights, Config(dict(model=dict(type='A'))), str(file))
    for wrong, words in (('', 'names no checkpoint'), (str(tmp_path), 'is a folder'), ('none.pth', 'no such file')):
        assert words in say_no(set_backbone_weights, detector(), wrong)


def training_checkpoint(**changes) -> dict:
    whole = dict(
        meta=dict(epoch=1, iter=3),
        state_dict=dict(a=torch.ones(1)),
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        optimizer=dict(state={}, param_groups=[dict(lr=0.1)]),
        param_schedulers=[dict(last_step=3)])
    whole.update(changes)
    return {key: value for key, value in whole.items() if value is not None}


NOT_RESUMABLE = {
    'weights alone': (dict(a=torch.ones(1)), 'has no meta, no message_hub, no optimizer: it holds weights alone'),
    'no optimizer': (training_checkpoint(optimizer=None), 'has no optimizer'),
    'no message hub': (training_checkpoint(message_hub=None), 'has no message_hub'),
    'meta is no dict': (training_checkpoint(meta=3), 'its meta is not what'),
    'no epoch': (training_checkpoint(meta=dict(iter=3)), 'its meta is not'),
    'epoch is a text': (training_checkpoint(meta=dict(iter=3, epoch='1')), 'its meta is not'),
    'iteration below zero': (training_checkpoint(meta=dict(iter=-3, epoch=1)), 'its meta is not'),
    'message hub is empty': (training_checkpoint(message_hub={}), 'its message_hub is not'),
    'optimizer is a list': (training_checkpoint(optimizer=[1]), 'its optimizer is not'),
    'schedulers are numbers': (training_checkpoint(param_schedulers=[1, 2]), 'its param_schedulers is not'),
    'state dict is a tensor': (training_checkpoint(state_dict=torch.ones(1), meta=None
                                                   or 0), 'its state_dict, meta are'),
}


@pytest.mark.parametrize('case', NOT_RESUMABLE)
def test_a_run_does_not_go_on_from_what_is_no_training_checkpoint(case, tmp_path):
    checkpoint, expected = NOT_RESUMABLE[case]
    said = say_no(check_resumable, checkpoint, 'x.pth')
    assert expected in said and '--cfg-options load_from=x.pth' in said
    check_resumable(training_checkpoint(), 'x.pth')
    check_resumable(training_checkpoint(param_schedulers=None), 'x.pth')
    several = dict(a=training_checkpoint()['optimizer'], b=training_checkpoint()['optimizer'])
    check_resumable(training_checkpoint(optimizer=several, param_schedulers=dict(a=[], b=[{}])), 'x.pth')


def test_the_start_is_chosen_with_its_rule(tmp_path):
    path = tmp_path / 'w.pth'
    torch.save(training_checkpoint(), path)

    def config(**kwargs):
        return Config(dict(work_dir=str(tmp_path / 'work'), model=dict(type='A'), **kwargs))

    cfg = config(load_from=f'{path}::teacher')
    choose_start(cfg, None)
    hook, = cfg.custom_hooks
    assert (cfg.load_from, hook.prefix, hook.partial, hook.resize) == (str(path), 'teacher', False, True)
    assert '--partial-weights' in hook.remedy
    choose_start(cfg, str(path))
    hook, = cfg.custom_hooks  # not another one beside it
    assert cfg.resume and not {'remedy', 'partial', 'resize'} & hook.keys()
    cfg = config(load_from=str(path))
    choose_start(cfg, None, partial=True)
    assert cfg.custom_hooks[0].partial
    for resume, partial, words in (('', False, "--resume='' names no"), (str(tmp_path), False, 'is a folder'),
                                   (str(path), True, '--partial-weights: a run that is resumed')):
        assert words in say_no(choose_start, config(), resume, partial)
    assert 'no such file' in say_no(load_whole, config(), 'none.pth')


@pytest.mark.slow
def test_training_and_evaluation_hold_to_the_rule(shapes, tiny_config, tmp_path, monkeypatch):
    """The commands themselves: other classes, the switch, resuming, and a checkpoint of NaN; each file is read once."""
    work_dir, file = tmp_path / 'work', tmp_path / 'other.pth'
    cfg = Config.fromfile(tiny_config)
    cfg.model.roi_head.bbox_head.num_classes = 7
    torch.save(checkpoint_of(cfg), file)
    common = [str(tiny_config), '--data-root', str(shapes), '--work-dir', str(work_dir)]
    once = ['--cfg-options', f'load_from={file}', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=9']

    def exits(run, *argv) -> str:
        with pytest.raises(SystemExit) as error:
            run([*argv])
        return str(error.value)

    assert 'roi_head 4 of 8 (4 of another shape' in exits(training.train, *common, *once)
    reads = []

    def read_container(file, map_location):
        reads.append(file.name)
        return containers.read_container(file, map_location)

    monkeypatch.setattr(reading, 'read_container', read_container)
    training.train([*common, '--partial-weights', *once])
    assert reads == [str(file)]
    log = ''.join(path.read_text() for path in work_dir.glob('*/*.log'))
    assert 'Weights from' in log and 'roi_head 4 of 8' in log and 'do not match exactly' not in log
    saved = read_checkpoint(str(work_dir / 'epoch_1.pth'))
    assert 'weights alone' in exits(training.train, *common, '--resume', str(file))
    saved['state_dict']['neck.lateral_convs.0.conv.bias'][:] = float('nan')
    torch.save(saved, tmp_path / 'nan.pth')
    for argv in (('--resume', str(tmp_path / 'nan.pth')), ('--cfg-options', f'load_from={tmp_path / "nan.pth"}')):
        assert 'NaN or infinite values: neck.lateral_convs.0.conv.bias' in exits(training.train, *common, *argv)
    assert 'NaN or infinite values' in exits(training.test, common[0], str(tmp_path / 'nan.pth'), *common[1:])
