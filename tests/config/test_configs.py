"""Every file under configs/: it says how to run it, it fits together, it trains and infers."""
import functools
import math
import re
from pathlib import Path
from typing import Set, Tuple

import pytest
import torch
from helpers import CLASSIFIERS, CONFIGS, DETECTORS, OWN_RECIPES, ROOT, build, images, load, scope_of
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS

from mmbackbones.meta import on_meta
from mmbackbones.models import PooledDropout, PooledNorm
from mmbackbones.training.start import set_backbone_weights

pytestmark = pytest.mark.usefixtures('quiet')

# From so many million parameters on nothing is computed, for time and memory.
LARGE = {'detection': 50, 'classification': 30}


def said_size(path: str) -> float:
    """Million parameters by the header; of classifiers, as published."""
    said = re.search(r'Parameters: ([\d.]+)M|([\d.]+)M parameters', (ROOT / path).read_text())
    return float(said[1] or said[2]) if said else 0.


@functools.lru_cache(maxsize=None)
def stepping() -> Set[str]:
    """The configs that take a step: the smallest with each backbone, and the smallest of each detector and optimizer.

    Of the others, which pair what has been trained or differ in depth, width and schedule, the shapes on the meta
    device tell whether all fits.
    """
    smallest = {}
    for path in sorted(CONFIGS, key=said_size):
        cfg = load(path)
        smallest.setdefault((cfg.default_scope, cfg.model.backbone.type), path)
        smallest.setdefault((cfg.model.type, cfg.optim_wrapper.optimizer.type), path)
    return {path for path in smallest.values() if said_size(path) < LARGE[Path(path).parent.name]}


def watch(model: torch.nn.Module) -> Tuple[list, list]:
    """The shapes of the backbone's and the neck's maps, which are there after a forward pass."""
    maps, levels = [], []
    model.backbone.register_forward_hook(lambda backbone, inputs, outs: maps.extend(out.shape for out in outs))
    model.neck.register_forward_hook(lambda neck, inputs, outs: levels.extend(out.shape for out in outs))
    return maps, levels


def check_maps(cfg: Config, model: torch.nn.Module, maps: list, levels: list, size: int) -> None:
    """Neck and heads must be configured for the maps that backbone and neck gave, whose shapes these are."""
    channels = [shape[1] for shape in maps]
    assert channels == list(getattr(model.backbone, 'out_channels', channels))
    if cfg.default_scope == 'mmpretrain':
        assert channels == [cfg.model.neck.get('in_channels', cfg.model.head.in_channels)]
        assert [shape[1] for shape in levels] == [cfg.model.head.in_channels]
        return
    strides = [size // shape[-1] for shape in maps]
    heads = model.bbox_head if model.with_bbox and hasattr(model, 'bbox_head') else model.rpn_head
    if cfg.model.type == 'YOLOV3':  # the coarsest map first
        channels, strides = channels[::-1], strides[::-1]
        assert strides == cfg.model.bbox_head.featmap_strides
    assert channels == cfg.model.neck.in_channels
    # each level of the neck has the stride that the heads take it for; beyond the image one position is left
    level_strides = [stride[0] for stride in heads.prior_generator.strides]
    assert [shape[-1] for shape in levels] == [math.ceil(size / stride) for stride in level_strides]
    if cfg.model.get('roi_head'):
        pooled_strides = cfg.model.roi_head.bbox_roi_extractor.featmap_strides
        assert pooled_strides == level_strides[:len(pooled_strides)]


def check_optimizer(cfg: Config, model: torch.nn.Module, optimizer: OptimWrapper) -> None:
    """With weight decay of 0.05 and more, norms and tables of positions have none; all else that is trained does."""
    group_of = {parameter: group for group in optimizer.optimizer.param_groups for parameter in group['params']}
    assert set(group_of) == {parameter for parameter in model.parameters() if parameter.requires_grad}
    decay = cfg.optim_wrapper.optimizer.weight_decay
    if decay < 0.05:
        return
    norms = (torch.nn.modules.batchnorm._BatchNorm, torch.nn.LayerNorm, torch.nn.GroupNorm)
    for prefix, module in model.backbone.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_table = name not in ('weight', 'bias') and parameter.dim() > 1
            if isinstance(module, norms) or is_table:
                assert group_of[parameter]['weight_decay'] == 0, f'{prefix}.{name}'
            elif parameter.dim() > 1 and not prefix.endswith('pos_embed'):
                assert group_of[parameter]['weight_decay'] == decay, f'{prefix}.{name}'


@pytest.mark.parametrize('path', CONFIGS)
def test_fits_together_trains_one_step_and_infers(path):
    torch.manual_seed(0)
    cfg = load(path)
    set_backbone_weights(cfg, 'none')
    if cfg.model.get('roi_head'):  # fewer boxes, for speed
        cfg.model.train_cfg.rpn_proposal.max_per_img = 50
        cfg.model.train_cfg.rcnn.sampler.num = 32
        cfg.model.test_cfg.rcnn.max_per_img = 5
    data = images(cfg)
    size = data['inputs'][0].shape[-1]
    steps = path in stepping()
    with scope_of(cfg):
        model = build(cfg, 'cpu' if steps else 'meta').train()
        if path in DETECTORS:
            assert said_size(path) == round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2)
        maps, levels = watch(model)
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
        if path not in OWN_RECIPES:
            check_optimizer(cfg, model, optimizer)
        if not steps:
            with on_meta():
                model.neck(model.backbone(torch.empty(2, 3, size, size)))
            check_maps(cfg, model, maps, levels, size)
            return
        for name, part in model.named_children():
            if name != 'backbone' and hasattr(part, 'init_weights'):
                part.init_weights()  # YOLOv3's head overflows without it
        loss, _ = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
        check_maps(cfg, model, maps, levels, size)
        assert loss.isfinite()
        optimizer.backward(loss)
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert not [name for name, parameter in trained.items() if parameter.grad is None]

        model.eval()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train()  # the batch's own statistics: there are no running ones worth using yet
        with torch.no_grad():
            results = model.test_step(images(cfg))
        assert len(results) == 2
        for result in results:
            if path in CLASSIFIERS:
                assert result.pred_score.shape == (cfg.model.head.num_classes, )
                assert result.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
            else:
                found = result.pred_instances
                assert found.bboxes.isfinite().all() and found.bboxes.shape == (len(found.scores), 4)
                assert ('masks' in found) == getattr(model, 'with_mask', False)

        name, parameter = max(trained.items(), key=lambda item: item[1].grad.abs().max())
        before = parameter.detach().clone()
        optimizer.step()
        assert parameter.isfinite().all() and not parameter.equal(before), f'{name} was not updated'


def test_pretrained_recipes_freeze_what_the_authors_freeze():
    seen = set()
    for path in DETECTORS:
        cfg = load(path)
        type_ = cfg.model.backbone.type.split('.')[-1]
        if type_ == 'DogeNet':  # nobody has pretrained it
            assert 'pretrained_backbone' not in cfg
            continue
        backbone = {**cfg.model.backbone, **cfg.get('pretrained_backbone', {}), 'init_cfg': None}
        key = str({name: backbone.get(name) for name in ('type', 'out_indices', 'frozen_stages', 'norm_eval')})
        if key in seen:
            continue
        seen.add(key)
        with scope_of(cfg), on_meta():
            model = MODELS.build(backbone)
        model.train()  # MMDetection's MobileNetV2 returns nothing
        outputs = model(torch.empty(2, 3, 64, 64, device='meta'))
        frozen_stride = 4 if RECIPES[type_][0] == 'SGD' else 0  # the stem and the first stage of convolutional networks
        assert [out.requires_grad for out in outputs] == [64 // out.shape[-1] > frozen_stride for out in outputs], path
        # batches of detectors are too small for statistics of their own
        norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert not any(norm.training for norm in norms), path


@pytest.mark.parametrize('path', CONFIGS)
def test_header_has_the_command_and_its_batch(path):
    header = re.match(r'(#.*\n)+|"""[^"]+"""', (ROOT / path).read_text())
    assert header, f'{path} does not begin with a comment or docstring'
    command = re.search(rf'tools/train.py {path}|tools/dist_train.sh {path} (?P<gpus>\d+)', header[0])
    assert command, f'no command with {path} in its header'
    if path in OWN_RECIPES:
        return
    cfg = load(path)
    gpus, images_each, batch = map(int, re.search(r'(\d+) GPUs? x (\d+) images = batch (\d+)', header[0]).groups())
    assert gpus == int(command['gpus'] or 1) and gpus * images_each == batch
    assert images_each == cfg.train_dataloader.batch_size and batch == cfg.auto_scale_lr.base_batch_size
    assert f'learning rate {cfg.optim_wrapper.optimizer.lr:g} ' in header[0]
    assert f'{cfg.train_cfg.max_epochs} epochs' in header[0]
    assert re.search(r'^# Expected: .', header[0], re.MULTILINE)


# backbone -> optimizer, weight decay, learning rates of R-CNNs and of RetinaNet: published for ODConv, Swin, PVT and
# ViT (ViTDet); the rest has those of its kind.
SGD, SWIN, PVT = ('SGD', 1e-4, 0.02, 0.01), ('AdamW', 0.05, 1e-4, 1e-4), ('AdamW', 1e-4, 2e-4, 1e-4)
RECIPES = {
    **dict.fromkeys(['ResNet', 'MobileNetV2', 'ODConvResNet', 'ODConvMobileNetV2', 'BoTNet', 'DogeNet'], SGD),
    **dict.fromkeys(['SwinTransformer', 'DSNet', 'Conv2Former', 'CoAtNet'], SWIN),
    **dict.fromkeys(['PyramidVisionTransformer', 'PyramidVisionTransformerV2'], PVT),
    'VisionTransformer': ('AdamW', 0.1, 1e-4, 1e-4),
}  # yapf: disable
# epochs -> at which the rate falls; 25 are of four passes each, and 273 are YOLOv3's
MILESTONES = {12: [8, 11], 25: [22, 24], 36: [27, 33], 273: [218, 246]}


@pytest.mark.parametrize('path', DETECTORS)
def test_detectors_train_as_published(path):
    cfg = load(path)
    assert not cfg.get('custom_hooks')  # no annealing in detection
    assert not cfg.get('find_unused_parameters')
    epochs, optimizer = cfg.train_cfg.max_epochs, cfg.optim_wrapper.optimizer
    assert cfg.param_scheduler[-1].milestones == MILESTONES[epochs]
    type_ = cfg.model.backbone.type.split('.')[-1]
    kind, decay, rate, rate_of_retinanet = RECIPES[type_]
    assert optimizer.type == kind
    if cfg.model.type == 'YOLOV3':  # published for none: MMDetection's recipe, with the optimizer of the family
        assert epochs == 273 and cfg.train_dataloader.batch_size == 8
        return
    if cfg.model.type == 'RetinaNet':
        rate = rate_of_retinanet
    if path.endswith('pvtv2_b2_ms_3x.py'):  # as the authors of PVT do there
        _, decay, rate, _ = SWIN
    batch = cfg.train_dataloader.batch_size
    if type_ == 'VisionTransformer':
        assert (epochs, batch) == (25, 8)
    else:
        assert epochs == (36 if path.endswith('_3x.py') else 12)
        assert batch == (1 if re.search(r'_rcnn_pvt_l|pvtv2_b[45]', path) else 2)
    assert optimizer.lr == pytest.approx(rate / 1.4 if batch == 1 else rate)
    assert optimizer.weight_decay == decay and optimizer.get('momentum', 0.9) == 0.9


# backbone -> optimizer, learning rate, weight decay, epochs
ADAMW = ('AdamW', 1e-3, 0.05, 300)
CLASSIFIER_RECIPES = {
    **dict.fromkeys(['SwinTransformer', 'PyramidVisionTransformer', 'PyramidVisionTransformerV2'], ADAMW),
    **dict.fromkeys(['DSNet', 'Conv2Former', 'CoAtNet'], ADAMW),
    'BoTNet': ('SGD', 0.8, 5e-5, 100),
}  # yapf: disable


@pytest.mark.parametrize('path', [path for path in CLASSIFIERS if path.endswith('_8xb128_in1k.py')])
def test_transformers_train_as_published(path):
    cfg = load(path)
    type_ = cfg.model.backbone.type.split('.')[-1]
    optimizer = cfg.optim_wrapper.optimizer
    settings = (optimizer.type, optimizer.lr, optimizer.weight_decay, cfg.train_cfg.max_epochs)
    assert settings == CLASSIFIER_RECIPES[type_]
    schedule = cfg.param_scheduler
    warm_up = 20 if type_ == 'SwinTransformer' else 5
    assert [each.type for each in schedule] == ['LinearLR', 'CosineAnnealingLR']
    assert schedule[0].end == schedule[1].begin == warm_up


# document 002, training settings: what -> dropout
DROPOUT = {'r18': 0.1, 'r50': 0.2, 'r101': 0.2, 'mobilenetv2_100': 0.2, 'mobilenetv2_075': 0.1, 'mobilenetv2_050': 0.0}


@pytest.mark.parametrize('path', [path for path in CLASSIFIERS if path.endswith('_8xb32_in1k.py')])
def test_odconv_trains_as_published(path):
    cfg = load(path)
    kernels, network = re.fullmatch(r'odconv(?:(\d)x)?_(.+)_8xb32_in1k', Path(path).stem).groups()
    assert cfg.model.backbone.get('kernel_num', 1) == int(kernels or 1)
    assert cfg.model.neck == dict(type='mmbackbones.PooledDropout', drop_prob=DROPOUT[network])
    assert cfg.custom_hooks == [dict(type='mmbackbones.TemperatureAnnealingHook')]
    schedule, optimizer = cfg.param_scheduler, cfg.optim_wrapper.optimizer
    settings = (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size, optimizer.lr, optimizer.weight_decay)
    if network.startswith('mobilenetv2'):
        assert settings == (150, 32, 0.05, 4e-5)
        assert (schedule.type, schedule.T_max, schedule.get('eta_min', 0)) == ('CosineAnnealingLR', 150, 0)
    else:
        assert settings == (100, 32, 0.1, 1e-4)
        assert (schedule.type, schedule.milestones, schedule.gamma) == ('MultiStepLR', [30, 60, 90], 0.1)


def test_dropout_before_the_classifier_acts_in_training_only():
    torch.manual_seed(0)
    neck = PooledDropout(drop_prob=0.25)
    maps = (torch.zeros(2, 8, 8, 8), torch.rand(2, 4000, 3, 5) + 1)
    mean = maps[1].mean((2, 3))
    vectors, = neck.eval()(maps)
    torch.testing.assert_close(vectors, mean)
    vectors, = neck.train()(maps)
    kept = vectors != 0
    assert 0.7 < kept.float().mean() < 0.8
    torch.testing.assert_close(vectors[kept], mean[kept] / 0.75)
    with pytest.raises(ValueError, match='drop_prob=1.5 must be at least 0 and below 1'):
        PooledDropout(drop_prob=1.5)


@pytest.mark.parametrize('hidden', [None, 6])
def test_neck_norms_each_position_before_it_averages(hidden):
    torch.manual_seed(0)
    neck = PooledNorm(in_channels=4, hidden_channels=hidden)
    map_ = torch.randn(2, 4, 3, 5)
    expected = torch.zeros(2, hidden or 4)
    for row in range(3):
        for column in range(5):
            x = map_[:, :, row, column]
            if hidden:
                x = torch.nn.functional.gelu(x @ neck.hidden.weight.t() + neck.hidden.bias)
            centred = x - x.mean(1, keepdim=True)
            expected += centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt() / 15
    vectors, = neck((torch.zeros(2, 8, 6, 10), map_))
    torch.testing.assert_close(vectors, expected)


def test_the_readme_lists_the_detectors_that_there_are():
    table = re.search(r'\| BACKBONE \|.*?\n\n', (ROOT / 'README.md').read_text(), re.DOTALL)[0].strip().splitlines()
    detectors = [cell.strip() for cell in table[0].split('|')[2:-1]]
    listed = set()
    for line in table[2:]:
        backbones, *cells = (cell.strip() for cell in line.split('|')[1:-1])
        listed |= {
            f'configs/detection/{detector}_{backbone}.py'
            for detector, cell in zip(detectors, cells) if cell.startswith('yes') for backbone in backbones.split(', ')
        }
    assert listed <= set(DETECTORS)
    # not in the table: static networks to compare with, a smaller ODConv, longer schedules
    others = re.compile(r'.*_rcnn_(r50|mobilenetv2|odconv_r18|.*_ms_3x)\.py')
    assert not [path for path in DETECTORS if path not in listed and not others.fullmatch(path)]
