"""Options and configs: what is read from text, who wins, and what testing with augmentation makes of a config."""
import copy

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from mmbackbones import training
from mmbackbones.config.check import check_config
from mmbackbones.config.files import load_config
from mmbackbones.config.head_classes import check_head_classes
from mmbackbones.config.images import image_channels
from mmbackbones.config.meta_run import build
from mmbackbones.errors import InputError
from mmbackbones.swap import swap_backbone
from mmbackbones.training.cfg_options import apply_options, parse_value
from mmbackbones.training.options import drop_hooks, move_data_root, set_randomness
from mmbackbones.training.tta import use_tta

VALUES = {
    '1': 1,
    '-1': -1,
    '1e-3': 0.001,
    'None': None,
    'true': True,
    'text': 'text',
    'a=b': 'a=b',
    "'1'": '1',
    "'a,b=c]'": 'a,b=c]',
    '"it\'s"': "it's",
    "it's": "it's",
    'odconv_ep{}.pth': 'odconv_ep{}.pth',
    '1,2': [1, 2],
    '1,': [1],
    '[a,b]': ['a', 'b'],
    '[(1,2),[a,[]],()]': [(1, 2), ['a', []], ()],
    '[dict(type=EMAHook, momentum=0.1)]': [dict(type='EMAHook', momentum=0.1)],
    "[{'type':'Resize','scale':(96,96)}]": [dict(type='Resize', scale=(96, 96))],
    '{type:SGD,betas:(0.9,0.99)}': dict(type='SGD', betas=(0.9, 0.99)),
    'dict(a=dict(b=[{c:1}]))': dict(a=dict(b=[dict(c=1)])),
    '': '',
}


@pytest.mark.parametrize('text', VALUES)
def test_values_are_read_as_they_are_meant(text):
    value = parse_value(text)
    assert value == VALUES[text] and type(value) is type(VALUES[text])


@pytest.mark.parametrize('text', ['[1', '(1,2', 'dict(a=1', '{a}', "'a", '[1]]', '[1,,2]', '[1]2'])
def test_values_that_do_not_close_are_refused(text):
    with pytest.raises(ValueError, match='missing|too much'):
        parse_value(text)


def test_a_list_of_one_dict_and_a_place_in_a_list_are_set():
    cfg = Config(dict(param_scheduler=[dict(type='LinearLR', end=500), dict(type='MultiStepLR')], model=dict(type='A')))
    assert apply_options(cfg, {'param_scheduler.0.end': 10, 'custom_hooks': [dict(type='EMAHook')]}) == []
    assert cfg.param_scheduler[0].end == 10 and cfg.custom_hooks[0].type == 'EMAHook'


# of the file, of --cfg-options, --seed and --deterministic -> what holds, and where it comes from
RANDOMNESS = [
    ({}, {}, None, None, dict(seed=0, deterministic=False), 'seed 0 (default)'),
    (dict(seed=None), {}, None, None, dict(seed=0), 'seed 0 (default)'),
    (dict(seed=42, deterministic=True, diff_rank_seed=True), {}, None, None,
     dict(seed=42, deterministic=True, diff_rank_seed=True), 'seed 42 (config)'),
    (dict(seed=42, deterministic=True, diff_rank_seed=True), dict(seed=7), None, None,
     dict(seed=7, deterministic=True, diff_rank_seed=True), 'seed 7 (--cfg-options)'),
    (dict(seed=42), dict(seed=7), 3, True, dict(seed=3, deterministic=True), 'seed 3 (--seed)'),
]  # yapf: disable


@pytest.mark.parametrize('file, option, seed, deterministic, expected, said', RANDOMNESS)
def test_an_explicit_seed_wins_over_the_config_and_both_over_the_defaults(file, option, seed, deterministic, expected,
                                                                          said):
    cfg = Config(dict(randomness={**file, **option}))
    assert said in set_randomness(cfg, file, seed, deterministic)
    assert {key: cfg.randomness[key] for key in expected} == expected


@pytest.mark.parametrize('written', ['data/coco', 'data/coco/', './data/coco', 'data//coco/.', 'data/x/../coco'])
def test_a_root_is_the_same_however_it_is_written(written):
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=dict(data_root=written)),
            val_dataloader=dict(dataset=dict(data_root='data/coco/part')),
            val_evaluator=dict(ann_file='./data/coco/annotations/val.json', type='data/coco'),
            other='data/coco2/x'))
    move_data_root(cfg, '/new/')
    assert cfg.train_dataloader.dataset.data_root.rstrip('/') == '/new'
    assert cfg.val_dataloader.dataset.data_root == '/new/part'
    assert cfg.val_evaluator == dict(ann_file='/new/annotations/val.json', type='data/coco')
    assert cfg.other == 'data/coco2/x'


# config of MMDetection -> numbers of classes that do not belong to two classes, by their keys
HEADS = {
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco': [
        'model.panoptic_head.num_things_classes=80, expected 2', 'model.panoptic_head.loss_cls.class_weight has 81',
        'model.panoptic_fusion_head.num_things_classes=80'],
    'rtmdet/rtmdet_tiny_8xb32-300e_coco': ['model.bbox_head.num_classes=80, expected 2'],
    'detr/detr_r50_8xb2-150e_coco': ['model.bbox_head.num_classes=80, expected 2'],
    'ssd/ssd300_coco': ['model.bbox_head.num_classes=80, expected 2'],
    'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco': ['model.roi_head.bbox_head[2].num_classes=80',
                                                       'model.roi_head.mask_head.num_classes=80'],
    'solov2/solov2_r50_fpn_1x_coco': ['model.mask_head.num_classes=80'],
    'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco': [
        'model.detector.roi_head.bbox_head.num_classes=80'],
    'htc/htc_r50_fpn_1x_coco': ['model.roi_head.bbox_head[0].num_classes=80'],
}  # yapf: disable


@pytest.mark.parametrize('name', HEADS)
def test_classes_of_every_head_are_compared_by_its_role(name):
    model = load_config(f'mmdet::{name}.py').model
    check_head_classes(model, 80, 'train_dataloader.dataset')
    with pytest.raises(InputError) as error:
        check_head_classes(model, 2, 'train_dataloader.dataset')
    for said in ('train_dataloader.dataset has 2 classes', *HEADS[name]):
        assert said in str(error.value)
    assert 'semantic' not in str(error.value) and 'rpn_head' not in str(error.value)


GREY = dict(model=dict(data_preprocessor=dict(mean=[114.], std=[57.], bgr_to_rgb=False)))


@pytest.fixture
def grey() -> Config:
    """A detector of ours that loads grey images."""
    cfg = load_config(str(ROOT / 'configs/detection/faster_rcnn_odconv_r18.py'))
    cfg.merge_from_dict(copy.deepcopy(GREY))
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.pipeline[0].color_type = 'grayscale'
    return cfg


def test_the_backbone_is_checked_with_the_channels_that_the_pipeline_loads(grey):
    assert image_channels(grey) == 1
    problem, = check_config(grey)
    assert 'loads grey images (1 channel)' in problem and 'set model.backbone.in_channels=1' in problem
    grey.model.backbone.in_channels = 1
    assert check_config(grey) == []
    grey.model.data_preprocessor.mean = [1., 2., 3.]
    assert 'model.data_preprocessor.mean has 3 values' in check_config(grey)[0]
    swapped, _ = swap_backbone(load_config(str(ROOT / 'configs/detection/faster_rcnn_odconv_r18.py')), 'swin_t')
    assert 'in_channels' not in swapped.model.backbone


NATIVE = [
    dict(type='ODConvResNet', depth=18), dict(type='DyConvResNet', depth=18), dict(type='CondConvResNet', depth=18),
    dict(type='ODConvMobileNetV2'), dict(type='SwinTransformer', arch='tiny'),
    dict(type='PyramidVisionTransformer', arch='tiny'), dict(type='PyramidVisionTransformerV2', arch='b0'),
    dict(type='DSNet', arch='tiny'), dict(type='Conv2Former', arch='nano'), dict(type='Conv2Former', arch='nano_cifar'),
    dict(type='BoTNet', arch='50'), dict(type='DogeNet', arch='26'), dict(type='CoAtNet', arch='0'),
    dict(type='VisionTransformer', arch=dict(embed_dims=96, depth=8, num_heads=3))
]  # yapf: disable


@pytest.mark.parametrize('config', NATIVE, ids=[config['type'] for config in NATIVE])
def test_native_backbones_take_images_of_other_channels(config):
    config = dict(config, type=f'mmbackbones.{config["type"]}')
    with torch.device('meta'), torch.no_grad():
        backbones = {channels: MODELS.build(dict(config, in_channels=channels)) for channels in (1, 3)}
    for channels, backbone in backbones.items():
        with torch.device('meta'), torch.no_grad():
            assert len(backbone(torch.empty(1, channels, 64, 64))) == len(backbone.out_channels)
    grey, colour = (backbone.state_dict() for backbone in backbones.values())
    other = [key for key in colour if colour[key].shape != grey[key].shape]
    assert len(other) == 1 and grey[other[0]].shape[1] == 1 and colour[other[0]].shape[1] == 3


@pytest.mark.parametrize('name, prefixes', [
    ('soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco', ['student.backbone.']),
    ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco', ['backbone.']),
])  # yapf: disable
def test_layers_have_their_rates_wherever_the_backbone_is(name, prefixes):
    cfg, _ = swap_backbone(load_config(f'mmdet::{name}.py'), 'swin_b', recipe=True)
    assert check_config(cfg) == []
    cfg.optim_wrapper.paramwise_cfg.layer_decay_rate = 0.5
    model = build(cfg, cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[group['params'][0]]: group['lr'] for group in wrapper.optimizer.param_groups}
    full = max(rates.values())
    lower = {name for name, rate in rates.items() if rate < full}
    assert lower and all(name.startswith(tuple(prefixes)) for name in lower)
    assert rates[f'{prefixes[0]}patch_embed.proj.weight'] == min(rates.values()) < full / 1e6


def test_tta_takes_the_config_or_mirrors(tiny_config, tmp_path):
    cfg = Config.fromfile(tiny_config)
    use_tta(cfg)
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module.type == 'FasterRCNN'
    assert cfg.model.tta_cfg == dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
    *steps, views = cfg.test_dataloader.dataset.pipeline
    assert [step.type for step in steps] == ['LoadImageFromFile', 'Resize', 'LoadAnnotations']
    assert [flip.prob for flip in views.transforms[0]] == [1., 0.] and 'flip' in views.transforms[1][0].meta_keys
    wrapped = copy.deepcopy(cfg)
    use_tta(wrapped)  # as a config that wraps its model itself
    assert wrapped.model == cfg.model

    own = Config.fromfile(tiny_config)
    own.tta_model, own.tta_pipeline = dict(type='Own'), [dict(type='TestTimeAug', transforms=[[]])]
    use_tta(own)
    assert own.model.type == 'Own' and own.test_dataloader.dataset.pipeline == own.tta_pipeline
    masks = load_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
    with pytest.raises(InputError, match='predicts masks'):
        use_tta(masks)


@pytest.mark.slow
def test_tta_evaluates_a_checkpoint(tiny_config, shapes, tmp_path, capsys):
    work_dir = tmp_path / 'work'
    options = ['--data-root', str(shapes), '--work-dir', str(work_dir)]
    training.train(
        [str(tiny_config), *options, '--backbone-weights', 'none', '--cfg-options', 'train_cfg.max_epochs=1'])
    training.test([str(tiny_config), str(work_dir / 'epoch_1.pth'), *options, '--tta'])
    assert 'coco/bbox_mAP' in capsys.readouterr().out
    wrapping = tmp_path / 'wrapping.py'
    wrapping.write_text(
        f"_base_ = '{tiny_config}'\nmodel = dict(_delete_=True, type='DetTTAModel', module={{{{_base_.model}}}},"
        ' tta_cfg=dict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=100))\n')
    training.test([str(wrapping), str(work_dir / 'epoch_1.pth'), *options, '--tta'])


def test_a_default_hook_that_is_none_is_left_out():
    cfg = Config(dict(default_hooks=dict(checkpoint=None, visualization=None, logger=dict(type='LoggerHook'))))
    drop_hooks(cfg)
    assert cfg.default_hooks == dict(checkpoint=None, logger=dict(type='LoggerHook'))
