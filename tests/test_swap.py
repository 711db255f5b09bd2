"""`mmbackbones swap`: the config it writes changes what must change, fits, trains, and stays the same."""
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from test_configs import ROOT, build, images, load, quiet, scope_of  # noqa: F401

from mmbackbones.catalogue import load_catalogue
from mmbackbones.check import check_fit
from mmbackbones.cli import main
from mmbackbones.swap import SwapError, default_output, load_config, swap_backbone, swap_file

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
    'vision_transformer/vit-base-p16_32xb128-mae_in1k', 'mobilenet_v3/mobilenet-v3-small_8xb128_in1k'
])
def test_classifiers_take_the_last_map(base):
    cfg, _ = swap_backbone(load_config(f'mmpretrain::{base}.py'), 'pvt_s')
    fit = check_fit(cfg)
    assert fit.problems == [] and fit.maps == ((512, ), (32, )) and fit.levels == ((512, ), (0, ))


@pytest.mark.parametrize('config, name, said', [
    ('mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py', 'dogenet26', ('stride 32', 'ends at 16', 'What fits: odconv_r18')),
    ('mmdet::cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py', 'swin_t', ('several maps of one stride', )),
    ('mmdet::detectors/cascade-rcnn_r50-rfp_1x_coco.py', 'swin_t', ('model.neck', )),
    ('mmdet::tridentnet/tridentnet_r50-caffe_1x_coco.py', 'swin_t', ('TridentFasterRCNN does not take swin_t', )),
    ('mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py', 'swin_t',
     ('has no backbone of its own', )),
    ('mmpretrain::mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py', 'swin_t', ('MAE', )),
])  # yapf: disable
def test_what_cannot_be_swapped_is_said_with_the_reason(config, name, said):
    with pytest.raises(SwapError) as error:
        swap_backbone(load_config(config), name)
    assert all(part in str(error.value) for part in said), str(error.value)


# the cheapest pairs of each kind of model that a step costs little for
STEPS = [(FASTER_RCNN, 'dogenet26'), (RETINANET, 'pvt_t'), (YOLOV3, 'dogenet26'),
         ('mmdet::ssd/ssd300_coco.py', 'odconv_r18'), ('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 'swin_t'),
         ('mmpretrain::resnet/resnet18_8xb32_in1k.py', 'pvt_t')]


@pytest.mark.parametrize('config, name', STEPS)
def test_a_swapped_model_trains_and_infers(config, name):
    torch.manual_seed(0)
    cfg, _ = swap_backbone(load_config(config), name)
    data = images(cfg, size=300 if 'ssd' in config else 64)
    with scope_of(cfg):
        for sample in data['data_samples'] if cfg.default_scope == 'mmdet' else ():
            del sample.gt_instances.masks  # a detector of boxes has none
        model = revert_sync_batchnorm(build(cfg)).train()  # synchronised ones need a GPU
        for part, module in model.named_children():
            if part != 'backbone' and hasattr(module, 'init_weights'):
                module.init_weights()  # YOLOv3's head overflows without it
        loss, _ = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
        assert loss.isfinite()
        loss.backward()
        trained = {name: parameter for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
        assert trained and not [name for name, parameter in trained.items() if parameter.grad is None]
        if 'ssd' in config:
            return  # MMDetection's SSDHead has no loss_cls, which its own inference reads, with any backbone
        model.eval()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train()  # there are no running statistics worth using yet
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


@pytest.mark.slow
def test_every_family_has_strides_that_detectors_take():
    seen = set()
    for row in load_catalogue():
        if row.family in seen or row.config is None:
            continue
        seen.add(row.family)
        cfg, _ = swap_backbone(load_config(RETINANET), row.name)
        assert check_fit(cfg).levels.strides == (8, 16, 32, 64, 128), row.name
