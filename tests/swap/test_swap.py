"""`mmbackbones swap`: the config it writes changes what must change, fits, trains, and stays the same."""
import math
from pathlib import Path

import pytest
import torch
from helpers import ROOT, build, images, load, scope_of
from mmengine.config import Config

from mmbackbones.catalogue import find_backbone, load_catalogue
from mmbackbones.catalogue.recipes import find_recipe
from mmbackbones.cli import main
from mmbackbones.config import fit
from mmbackbones.config.edit import Plan, SwapError
from mmbackbones.config.files import default_output, inherited_name, last_checkpoint, load_config
from mmbackbones.config.meta_run import package_configs
from mmbackbones.swap import backbone, swap_backbone, swap_file
from mmbackbones.swap.recipe import swap_recipe

pytestmark = pytest.mark.usefixtures('quiet')

IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
YOLOV3 = 'mmdet::yolo/yolov3_d53_8xb8-ms-608-273e_coco.py'
FASTER_RCNN = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

# base, backbone -> the config of ours that was written by hand
WRITTEN = [
    (FASTER_RCNN, 'swin_t', 'faster_rcnn_swin_t'),
    (FASTER_RCNN, 'odconv_r50', 'faster_rcnn_odconv_r50'),
    (FASTER_RCNN, 'dogenet26', 'faster_rcnn_dogenet26'),
    (RETINANET, 'dogenet26', 'retinanet_dogenet26'),
    (RETINANET, 'pvt_s', 'retinanet_pvt_s'),
    (YOLOV3, 'odconv_r50', 'yolov3_odconv_r50'),
    (YOLOV3, 'swin_t', 'yolov3_swin_t'),
    ('configs/detection/mask_rcnn_swin_t.py', 'pvt_s', 'mask_rcnn_pvt_s'),
]

FITS = {}


def check_fit(cfg):
    """What :func:`mmbackbones.config.fit.check_fit` says, which is asked once of each model."""
    key = repr([cfg.get(part) for part in ('model', 'data_preprocessor', 'default_scope')])
    if key not in FITS:
        FITS[key] = fit.check_fit(cfg)
    return FITS[key]


@pytest.fixture(autouse=True)
def ask_once(monkeypatch):
    monkeypatch.setattr(backbone, 'check_fit', check_fit)


def plain(node):
    """Tuples and lists alike, and without the scope that MMEngine adds to what is inherited by name."""
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items() if key != '_scope_'}
    return [plain(value) for value in node] if isinstance(node, (list, tuple)) else node


@pytest.mark.parametrize('base, name, written', WRITTEN)
def test_swapping_gives_what_was_written_by_hand(base, name, written, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg, _ = swap_backbone(load_config(base), name, recipe=True)
    ours, theirs = plain(cfg.model), plain(load(f'configs/detection/{written}.py').model)
    for model in (ours, theirs):
        model['backbone'].pop('drop_path_rate', None)  # a choice of the recipe, not of the fit
    assert ours == theirs
    if base == YOLOV3:
        expand, = (step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'Expand')
        assert expand.mean == IMAGENET[0] and cfg.data_preprocessor['std'] == IMAGENET[1]
    # the file says the same, in a form that MMEngine reads without this package
    path, _ = swap_file(base, name, str(tmp_path / 'swapped.py'), recipe=True)
    read = Config.fromfile(path)
    for key in ('model', 'train_dataloader', 'optim_wrapper', 'data_preprocessor', 'pretrained_backbone'):
        assert plain(read.get(key)) == plain(cfg.get(key)), key
    assert not read.get('custom_imports')


# detector -> strides of the backbone's maps
ROLES = {
    'pafpn/faster-rcnn_r50_pafpn_1x_coco': [4, 8, 16, 32],
    'nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco': [8, 16, 32],
    'libra_rcnn/libra-retinanet_r50_fpn_1x_coco': [8, 16, 32],
    'carafe/faster-rcnn_r50_fpn-carafe_1x_coco': [4, 8, 16, 32],
    'dyhead/atss_r50_fpn_dyhead_1x_coco': [8, 16, 32],
    'dino/dino-4scale_r50_8xb2-12e_coco': [8, 16, 32],
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco': [4, 8, 16, 32],
    'maskformer/maskformer_r50_ms-16xb1-75e_coco': [4, 8, 16, 32],
    'rtmdet/rtmdet_s_8xb32-300e_coco': [8, 16, 32],
    'yolox/yolox_s_8xb8-300e_coco': [8, 16, 32],
    'solov2/solov2_r50_fpn_1x_coco': [4, 8, 16, 32],
    'ssd/ssd300_coco': [8, 16],
    'detr/detr_r50_8xb2-150e_coco': [32],
    'faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco': [16],
    'rpn/rpn_r50-caffe-c4_1x_coco': [16],
}

# DogeNet has no map at stride 32: necks with and without extra levels, a head that takes the maps, any stride, no need
SHORT = ('pafpn/faster-rcnn_r50_pafpn_1x_coco', 'dino/dino-4scale_r50_8xb2-12e_coco', 'yolox/yolox_s_8xb8-300e_coco',
         'mask2former/mask2former_r50_8xb2-lsj-50e_coco', 'detr/detr_r50_8xb2-150e_coco', 'ssd/ssd300_coco')
PAIRS = [(detector, 'dogenet26' if detector in SHORT else 'swin_t') for detector in ROLES]


@pytest.mark.parametrize('detector, name', PAIRS)
def test_necks_and_heads_of_every_role_take_a_backbone_and_get_the_same_levels(detector, name):
    cfg = load_config(f'mmdet::{detector}.py')
    before, text = check_fit(cfg), cfg.pretty_text
    swapped, changes = swap_backbone(cfg, name)
    after = check_fit(swapped)
    last = 16 if name == 'dogenet26' else 32
    strides = [stride for stride in ROLES[detector] if stride <= last] or [last]
    assert [2**round(math.log2(stride)) for stride in after.maps.strides] == strides
    if detector.startswith('detr/'):  # its encoder takes any stride
        assert after.levels.channels == before.levels.channels
    elif not detector.startswith(('ssd/', 'rpn/', 'mask')):
        assert after.levels == before.levels
    preprocessor = swapped.model.get('data_preprocessor') or swapped.data_preprocessor
    assert (preprocessor.mean, preprocessor.std, preprocessor.bgr_to_rgb) == (*IMAGENET, True)
    assert all(what and why for what, why in changes)
    assert cfg.pretty_text == text


@pytest.mark.parametrize('base', [
    'resnet/resnet50_8xb32_in1k', 'convnext/convnext-tiny_32xb128_in1k',
    'vision_transformer/vit-base-p16_32xb128-mae_in1k', 'mobilenet_v3/mobilenet-v3-small_8xb128_in1k',
    'hrnet/hrnet-w18_4xb32_in1k', 'inception_v3/inception-v3_8xb32_in1k', 'lenet/lenet5_mnist'
])
def test_classifiers_take_the_last_map(base):
    cfg, _ = swap_backbone(load_config(f'mmpretrain::{base}.py'), 'pvt_s')
    fit = check_fit(cfg)
    assert fit.problems == [] and fit.maps == ((512, ), (32, )) and fit.levels == ((512, ), (0, ))


@pytest.mark.parametrize('config, name, said', [
    ('mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py', 'dogenet26', ('stride 32', 'ends at 16', 'What fits: odconv_r18')),
    ('mmdet::cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py', 'swin_t',
     ('several maps of one stride', 'What fits: a detector of one map')),
    ('mmdet::detectors/cascade-rcnn_r50-rfp_1x_coco.py', 'swin_t',
     ('model.neck (RFP) holds a second backbone', 'What fits: the same detector with another neck')),
    ('mmdet::tridentnet/tridentnet_r50-caffe_1x_coco.py', 'swin_t',
     ('asks its backbone for num_branch', 'What fits: its plain form, FasterRCNN')),
    ('mmdet::misc/d2_faster-rcnn_r50-caffe_fpn_ms-90k_coco.py', 'swin_t', ('has no backbone of its own', )),
    ('mmpretrain::mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py', 'swin_t', ('MAE', 'What fits')),
    ('mmpretrain::glip/glip-l_headless.py', 'swin_t', ('names no default_scope', 'What fits')),
    ('mmpretrain::replknet/replknet-31B_32xb64_in1k-384px.py', 'swin_t', ('inherits what MMEngine cannot read', )),
])  # yapf: disable
def test_what_cannot_be_swapped_is_said_with_the_reason(config, name, said):
    with pytest.raises(SwapError) as error:
        swap_backbone(load_config(config), name)
    assert all(part in str(error.value) for part in said), str(error.value)


INCEPTION = [127.5] * 3


@pytest.mark.parametrize('config, name, expected', [
    # a filling transform, pixels from 0 to 1 before
    (YOLOV3, 'inception_v3', {
        'model.data_preprocessor.mean': INCEPTION,
        'train_dataloader.dataset.pipeline.2.mean': INCEPTION,
    }),
    # no statistics before; grey paddings are of no statistics
    ('mmdet::yolox/yolox_s_8xb8-300e_coco.py', 'swin_t', {
        'model.data_preprocessor.mean': IMAGENET[0],
        'model.data_preprocessor.std': IMAGENET[1],
        'model.data_preprocessor.bgr_to_rgb': True,
    }),
    # a transform that fills in black, whatever the statistics
    ('mmdet::centernet/centernet_r18_8xb16-crop512-140e_coco.py', 'inception_v3', {
        'model.data_preprocessor.mean': INCEPTION,
        'train_dataloader.dataset.dataset.pipeline.3.mean': [0, 0, 0],
        'train_dataloader.dataset.dataset.pipeline.3.std': [1, 1, 1],
    }),
    # BGR before
    ('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', 'inception_v3', {
        'model.data_preprocessor.mean': INCEPTION,
        'model.data_preprocessor.bgr_to_rgb': True,
    }),
    # the teacher's and the student's
    ('mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py', 'odconv_r18', {
        'model.detector.data_preprocessor.mean': IMAGENET[0],
        'model.data_preprocessor.data_preprocessor.mean': IMAGENET[0],
        'model.data_preprocessor.data_preprocessor.bgr_to_rgb': True,
    }),
    # a re-identification network of MMDetection, which calls the order as MMPretrain does
    ('mmdet::reid/reid_r50_8xb32-6e_mot15train80_test-mot15val20.py', 'inception_v3', {
        'model.data_preprocessor.mean': INCEPTION,
        'model.data_preprocessor.to_rgb': True,
    }),
    # colours in BGR, rounded or not
    ('mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py', 'inception_v3', {
        'data_preprocessor.mean': INCEPTION,
        'data_preprocessor.to_rgb': True,
        'train_dataloader.dataset.pipeline.3.hparams.pad_val': [128] * 3,
        'train_dataloader.dataset.pipeline.4.fill_color': INCEPTION,
        'train_dataloader.dataset.pipeline.4.fill_std': INCEPTION,
    }),
    # the same ones already: nothing changes
    (RETINANET, 'swin_t', {}),
    ('mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py', 'pvt_t', {}),
])  # yapf: disable
def test_pixels_are_normalised_as_the_weights_expect_them_everywhere(config, name, expected, tmp_path):
    base = load_config(config)
    path, _ = swap_file(config, name, str(tmp_path / 'swapped.py'))
    read = Config.fromfile(path)
    for key, value in expected.items():
        found = read._cfg_dict
        for part in key.split('.'):
            found = found[int(part)] if part.isdigit() else found[part]
        assert plain(found) == value, key
    if not expected:
        for key in ('data_preprocessor', 'train_dataloader'):
            assert plain(read.get(key)) == plain(base.get(key))
        assert plain(read.model.get('data_preprocessor')) == plain(base.model.get('data_preprocessor'))


@pytest.mark.parametrize('config', [
    'mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py',
    'mmdet::masktrack_rcnn/masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_youtubevis2019.py',
])
def test_the_detector_inside_a_teacher_or_tracker_takes_the_backbone(config):
    cfg, changes = swap_backbone(load_config(config), 'pvt_t')
    assert cfg.model.detector.backbone.type == 'mmbackbones.PyramidVisionTransformer'
    assert cfg.model.detector.neck.in_channels == [64, 128, 320, 512]
    assert 'model.detector.neck.in_channels=[64, 128, 320, 512]' in [change.what for change in changes]
    assert cfg.model.detector.get('init_cfg') is None  # weights of the whole detector with its old backbone
    cfg.model.detector.neck.in_channels = [1, 2, 3, 4]
    assert 'set model.detector.neck.in_channels=[64, 128, 320, 512]' in str(check_fit(cfg).problems[0])


def test_any_network_of_torchvision_is_taken_by_name():
    cfg, changes = swap_backbone(load_config(FASTER_RCNN), 'torchvision:wide_resnet50_2')
    assert cfg.model.backbone == dict(type='mmbackbones.TorchvisionBackbone', model_name='wide_resnet50_2')
    assert 'mmbackbones info torchvision:wide_resnet50_2' in ' '.join(change.why for change in changes)


def test_any_network_of_timm_is_taken_by_name(tmp_path, monkeypatch, capsys):
    pytest.importorskip('timm')
    monkeypatch.chdir(tmp_path)
    assert main(['swap', FASTER_RCNN, 'timm:tf_efficientnet_lite0']) == 0
    cfg = Config.fromfile('faster-rcnn_tf_efficientnet_lite0_fpn_1x_coco.py')
    assert cfg.model.backbone == dict(type='mmbackbones.TimmBackbone', model_name='tf_efficientnet_lite0')
    assert cfg.model.neck.in_channels == [24, 40, 112, 320]
    assert plain(cfg.model.data_preprocessor.mean) == INCEPTION
    capsys.readouterr()
    assert main(['info', 'timm:tf_efficientnet_lite0']) == 0
    shown = capsys.readouterr().out
    assert '24/40/112/320' in shown and '127.5/127.5/127.5' in shown
    for name, said in (('timm:resnet26dd', 'timm:resnet26d'), ('timm:mixer_b16_224', 'mixer_b16_224')):
        assert main(['swap', FASTER_RCNN, name, '-o', 'none.py']) == 1
        error = capsys.readouterr().err
        assert said in error and len(error.strip().splitlines()) == 1


def recipe_of(cfg):
    """What a recipe decides, with the rate for batch 16."""
    wrapper, batch = cfg.optim_wrapper, cfg.auto_scale_lr.base_batch_size
    optimizer = dict(plain(wrapper.optimizer), betas=None)  # AdamW's own, written or not
    return dict(
        optimizer, lr=pytest.approx(optimizer['lr'] / math.sqrt(batch / 16), rel=0.02)), {
            'constructor': wrapper.get('constructor'),
            'paramwise_cfg': {
                key: value if key != 'custom_keys' else {
                    name: value[name]
                    for name in sorted(value)
                }
                for key, value in plain(wrapper.get('paramwise_cfg') or {}).items()
            },
            'clip_grad': plain(wrapper.get('clip_grad')),
            'schedule': [(step['type'], step.get('end'), step.get('milestones')) for step in plain(cfg.param_scheduler)]
        }


# detectors of ours and the ones that they replace the backbone of; MMDetection has none with many scales and 36 epochs
BASES = {
    'faster_rcnn': FASTER_RCNN,
    'mask_rcnn': 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'retinanet': RETINANET,
    'yolov3': YOLOV3
}
FAMILIES = ('swin_t', 'swin_b', 'pvt_s', 'pvt_l', 'pvtv2_b2', 'dsnet_t', 'conv2former_n', 'conv2former_t', 'coatnet0',
            'coatnet1', 'odconv_r50', 'botnet50', 'dogenet26')
RECIPES = [(detector, name) for detector in BASES for name in FAMILIES
           if (ROOT / f'configs/detection/{detector}_{name}.py').exists()]


@pytest.fixture(scope='module')
def recipes():
    """The change of recipe alone, without a look at the model."""

    def change(base, name):
        cfg = load_config(base)
        plan, row = Plan(cfg, ('model', )), find_backbone(name)
        plan.set_model(('backbone', ), dict(row.config), 'the new one', replace=True)
        swap_recipe(plan, row, cfg.model.backbone)
        return plan

    return change


@pytest.mark.parametrize('detector, name', RECIPES)
def test_the_recipe_is_that_of_the_config_written_by_hand(detector, name, recipes):
    ours, theirs = recipes(BASES[detector], name).cfg, load(f'configs/detection/{detector}_{name}.py')
    assert recipe_of(theirs) == recipe_of(ours)
    if 'drop_path_rate' in theirs.model.backbone:
        assert ours.model.backbone.drop_path_rate == theirs.model.backbone.drop_path_rate
    if find_recipe(find_backbone(name).family, 12) and find_recipe(find_backbone(name).family, 12).pretrained:
        assert ours.pretrained_backbone == theirs.pretrained_backbone


def test_a_recipe_for_many_epochs_and_for_vit_is_that_written_by_hand(recipes):
    long = 'configs/detection/mask_rcnn_swin_s_ms_3x.py'
    for base, name, written in ((long, 'pvtv2_b2', 'mask_rcnn_pvtv2_b2_ms_3x'),
                                (long, 'swin_t', 'mask_rcnn_swin_t_ms_3x'), ('mmdet::common/lsj-100e_coco-instance.py',
                                                                             'vit_b16', 'mask_rcnn_vit_b16')):
        theirs = load(f'configs/detection/{written}.py')
        cfg = load_config(str(ROOT / base) if '::' not in base else base)
        cfg.model = cfg.get('model') or theirs.model
        cfg.auto_scale_lr = theirs.auto_scale_lr
        plan, row = Plan(cfg, ('model', )), find_backbone(name)
        old = cfg.model.backbone
        plan.set_model(('backbone', ), dict(row.config), 'the new one', replace=True)
        swap_recipe(plan, row, old)
        assert recipe_of(theirs) == recipe_of(plan.cfg), written
        assert plan.cfg.model.backbone.get('drop_path_rate', 0.1) == theirs.model.backbone.get('drop_path_rate', 0.1)


@pytest.mark.parametrize('base, name, said', [
    (FASTER_RCNN, 'odconv_r50', 'stays SGD, as ODConv has no recipe'),
    ('mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', 'odconv_r50', 'it is that of the config'),
    ('mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', 'swin_t', 'DINO itself trains with AdamW'),
    ('mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py', 'pvt_s', 'RTMDet itself trains with AdamW'),
])
def test_a_recipe_that_stays_is_said_with_the_reason(base, name, said, recipes):
    plan, cfg = recipes(base, name), load_config(base)
    assert plan.cfg.optim_wrapper == cfg.optim_wrapper
    assert said in plan.changes[-1].why and plan.changes[-1].what == 'optim_wrapper.optimizer'


def test_a_recipe_scales_the_end_of_the_schedule_with_the_learning_rate(recipes):
    base = 'mmdet::yolox/yolox_s_8xb8-300e_coco.py'
    before, after = load_config(base), recipes(base, 'pvt_s').cfg
    share = after.optim_wrapper.optimizer.lr / before.optim_wrapper.optimizer.lr
    ends = [[step.eta_min for step in cfg.param_scheduler if 'eta_min' in step] for cfg in (before, after)]
    assert ends[0] and ends[1] == pytest.approx([share * end for end in ends[0]], rel=1e-4)


def test_convnext_v2_has_no_weight_decay_on_its_response_normalisation(recipes):
    options = recipes(FASTER_RCNN, 'convnextv2_tiny').cfg.optim_wrapper.paramwise_cfg
    assert options.custom_keys.grn == dict(decay_mult=0.) and options.layer_decay_rate == 0.98


def test_what_only_the_old_backbone_has_does_not_stay(tmp_path):
    convnext = 'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py'
    cfg, _ = swap_backbone(load_config(convnext), 'odconv_r18')
    assert cfg.optim_wrapper.constructor == 'DefaultOptimWrapperConstructor' and not cfg.optim_wrapper.paramwise_cfg
    path, _ = swap_file('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'odconv_r18', str(tmp_path / 'first.py'))
    text = path.read_text() + "load_from = 'mask_rcnn_odconv_r18.pth'\n"
    path.write_text(text)
    second = Config.fromfile(swap_file(str(path), 'pvt_t', str(tmp_path / 'second.py'))[0])
    assert second.load_from is None and not second.pretrained_backbone
    # a recipe on top of it: what is written replaces what is inherited, and nothing else
    third = Config.fromfile(swap_file(convnext, 'dsnet_t', str(tmp_path / 'third.py'), recipe=True)[0])
    assert 'decay_rate' not in third.optim_wrapper.paramwise_cfg and third.pretrained_backbone == dict(norm_eval=True)


def test_a_swapped_classifier_trains_and_infers():
    torch.manual_seed(0)
    cfg, _ = swap_backbone(load_config('mmpretrain::resnet/resnet18_8xb32_in1k.py'), 'pvt_t')
    data = images(cfg)
    with scope_of(cfg):
        model = build(cfg).train()
        loss, _ = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
        assert loss.isfinite()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        model.eval()
        with torch.no_grad():
            assert len(model.test_step(data)) == 2


def test_the_command_writes_a_short_stable_config_and_overwrites_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['swap', YOLOV3, 'swin_t', '--recipe']) == 0
    shown = capsys.readouterr().out
    path = tmp_path / 'yolov3_swin_t_8xb8-ms-608-273e_coco.py'
    text = path.read_bytes()
    assert str(path.name) in shown and 'model.neck.in_channels=[768, 384, 192]' in shown and 'tools/train.py' in shown
    assert f'# mmbackbones swap {YOLOV3} swin_t --recipe\n'.encode() in text
    assert len(text.splitlines()) < 40 and max(map(len, text.splitlines())) <= 120
    assert main(['swap', YOLOV3, 'swin_t']) == 1
    assert '--force overwrites' in capsys.readouterr().err and path.read_bytes() == text
    assert main(['swap', YOLOV3, 'swin_t', '--recipe', '--force']) == 0
    assert path.read_bytes() == text
    assert main(['check', path.name]) == 0
    # a config of one's own, in another folder
    assert main(['swap', path.name, 'odconv_r18', '-o', 'sub/mine.py']) == 0
    assert "_base_ = '../yolov3_swin_t_8xb8-ms-608-273e_coco.py'" in (tmp_path / 'sub/mine.py').read_text()
    assert Config.fromfile('sub/mine.py').model.neck.in_channels == [512, 256, 128]


@pytest.mark.parametrize('config, name, near', [
    (RETINANET, 'swint', 'swin_t'),
    (RETINANET, 'torchvision:resnett50', 'torchvision:resnet50'),
    (RETINANET, 'mmdet:RegNet', 'OpenMMLabBackbone'),
    (RETINANET.replace('1x', '1'), 'swin_t', 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'),
    ('mmdet::retinanet_r50_fpn_1x_coco.py', 'swin_t', 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'),
    ('configs/detection/faster_rcnn_swint.py', 'swin_t', 'configs/detection/faster_rcnn_swin_t.py'),
    ('mmdett::retinanet/retinanet_r50_fpn_1x_coco.py', 'swin_t', 'no package'),
])
def test_mistyped_names_list_the_nearest(config, name, near, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(['swap', config, name]) == 1
    assert near in capsys.readouterr().err


@pytest.mark.parametrize('config, expected', [
    (FASTER_RCNN, 'faster-rcnn_swin_t_fpn_1x_coco.py'),
    ('mmdet::faster_rcnn/faster-rcnn_x101-32x4d_fpn_1x_coco.py', 'faster-rcnn_swin_t_fpn_1x_coco.py'),
    ('mmdet::faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco.py', 'faster-rcnn_swin_t-c4_ms-1x_coco.py'),
    ('mmdet::pvt/retinanet_pvtv2-b0_fpn_1x_coco.py', 'retinanet_swin_t_fpn_1x_coco.py'),
    ('mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', 'mask-rcnn_swin_t_fpn_1x_coco.py'),
    ('configs/detection/faster_rcnn_odconv4x_r50.py', 'faster_rcnn_swin_t.py'),
    ('mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py', 'rtmdet_s_8xb32-300e_coco_swin_t.py'),
])
def test_the_file_is_named_after_the_config_and_the_backbone(config, expected):
    assert default_output(config, 'swin_t') == expected
    assert default_output(config, 'timm:a.b') == expected.replace('swin_t', 'a_b')


def test_every_config_of_mmdetection_can_be_inherited_by_its_name(tmp_path):
    folder = package_configs('mmdet')
    odd = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob('*+*/*.py'))][:1]
    odd += [path.relative_to(folder).as_posix() for path in sorted(folder.glob('*/*+*.py'))][:1]
    assert any('+' in Path(name).parent.name for name in odd)
    for index, name in enumerate([*odd, 'legacy_1.x/retinanet_r50_fpn_1x_coco_v1.py']):
        path = tmp_path / f'{index}.py'
        path.write_text(f"_base_ = {inherited_name(f'mmdet::{name}', path)!r}\n")
        assert plain(Config.fromfile(path).model) == plain(load_config(f'mmdet::{name}').model)


@pytest.mark.parametrize('config, expected', [
    (dict(train_cfg=dict(max_epochs=12)), 'epoch_12.pth'),
    (dict(train_cfg=dict(max_epochs=3), default_hooks=dict(checkpoint=dict(interval=1))), 'epoch_3.pth'),
    (dict(train_cfg=dict(max_iters=90000), default_hooks=dict(checkpoint=dict(by_epoch=False))), 'iter_90000.pth'),
])
def test_the_checkpoint_of_the_suggested_command_is_the_last_one(config, expected):
    assert last_checkpoint(Config(config)) == expected


MATRIX = (FASTER_RCNN, 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', RETINANET, YOLOV3)


def one_of_each(rows) -> list:
    """Rows as parameters: in every run one of each implementation, by `make exhaustive` all."""
    first = {row.implementation: row.name for row in reversed(rows)}
    return [
        row.name if row.name in first.values() else pytest.param(row.name, marks=pytest.mark.exhaustive) for row in rows
    ]


@pytest.mark.parametrize('name', one_of_each([row for row in load_catalogue() if row.config]))
@pytest.mark.parametrize('config', MATRIX)
def test_every_row_gives_the_detectors_the_levels_that_they_had(config, name):
    fit = check_fit(swap_backbone(load_config(config), name)[0])  # and swapping has looked at the problems
    assert fit.levels.strides == {YOLOV3: (32, 16, 8), RETINANET: (8, 16, 32, 64, 128)}.get(config, (4, 8, 16, 32, 64))
