"""`mmbackbones check`: what does not fit is said in one sentence with its remedy; what fits raises no alarm."""
import copy

import pytest
from helpers import CLASSIFIERS, DETECTORS, ROOT, load

from mmbackbones import training
from mmbackbones.cli import main
from mmbackbones.config.check import check_config
from mmbackbones.config.files import load_config
from mmbackbones.config.fit import check_fit

FASTER_RCNN = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
YOLOV3 = 'mmdet::yolo/yolov3_d53_8xb8-ms-608-273e_coco.py'
SSD = 'mmdet::ssd/ssd300_coco.py'
CASCADE = 'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'
DEFORMABLE = 'mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'
MASK2FORMER = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'
RESNET50 = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'

SWIN = dict(_delete_=True, type='mmbackbones.SwinTransformer', arch='tiny')

# what is changed -> what the one sentence must say: what is wrong, and the value that mends it
FAULTS = [
    (FASTER_RCNN, dict(backbone=dict(type='ResNett')), "type='ResNett' is not known", 'ResNet'),
    (FASTER_RCNN, dict(backbone=dict(type='mmbackbones.SwinTransfomer')), 'is not known',
     'mmbackbones.SwinTransformer'),
    (FASTER_RCNN, dict(neck=dict(out_chanels=256)), 'cannot be built', 'out_chanels'),
    (FASTER_RCNN, dict(backbone=SWIN), 'is for 4 maps of [256, 512, 1024, 2048] channels',
     'set model.neck.in_channels=[96, 192, 384, 768]'),
    (FASTER_RCNN, dict(backbone=dict(out_indices=(1, 2, 3))), 'gives 3 of [512, 1024, 2048] at strides 8, 16, 32',
     'model.backbone.out_indices to 4 stages'),
    (RETINANET, dict(neck=dict(start_level=0)), 'model.bbox_head has anchors or points for 5 maps at strides 8, 16',
     'model.neck.start_level'),
    (RETINANET, dict(neck=dict(num_outs=4)), 'gets 4 at strides 8, 16, 32, 64', 'num_outs'),
    (RETINANET, dict(bbox_head=dict(in_channels=128)), 'is for 128 channels and gets 256',
     'set model.bbox_head.in_channels=256'),
    (FASTER_RCNN, dict(neck=dict(out_channels=128)), 'model.rpn_head (RPNHead)', 'set model.rpn_head.in_channels=128'),
    (FASTER_RCNN, dict(roi_head=dict(bbox_head=dict(in_channels=128))), 'is for 6272 values and gets 12544',
     'set model.roi_head.bbox_head.in_channels=256'),
    (FASTER_RCNN, dict(roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[8, 16, 32, 64]))),
     'has featmap_strides for 4 maps at strides 8', 'bbox_roi_extractor.featmap_strides=[4, 8, 16, 32]'),
    (CASCADE, dict(roi_head=dict(mask_head=dict(in_channels=64))), 'model.roi_head.mask_head',
     'set model.roi_head.mask_head.in_channels=256'),
    (YOLOV3, dict(neck=dict(in_channels=[256, 512, 1024])), 'YOLOV3Neck',
     'set model.neck.in_channels=[1024, 512, 256]'),
    (YOLOV3, dict(bbox_head=dict(featmap_strides=[16, 8, 4], anchor_generator=dict(strides=[16, 8, 4]))),
     'for 3 maps at strides 16, 8, 4', 'strides=[32, 16, 8]'),
    (SSD, dict(bbox_head=dict(in_channels=(512, 512, 512, 256, 256, 256))), 'is for maps of [512, 512',
     'set model.bbox_head.in_channels=[512, 1024, 512'),
    (DEFORMABLE, dict(neck=dict(out_channels=128, norm_cfg=None)), "model.encoder's queries have 256 channels",
     'set model.neck.out_channels=256'),
    (DEFORMABLE, dict(neck=dict(num_outs=3)), 'num_feature_levels is 4', 'set model.neck.num_outs=4'),
    (MASK2FORMER, dict(backbone=SWIN), 'model.panoptic_head',
     'set model.panoptic_head.in_channels=[96, 192, 384, 768]'),
    (MASK2FORMER, dict(panoptic_head=dict(strides=[8, 16, 32, 64])), 'model.panoptic_head.strides', '[4, 8, 16, 32]'),
    (RESNET50, dict(backbone=dict(SWIN, out_indices=(3, ))), 'model.head (LinearClsHead)',
     'set model.head.in_channels=768'),
]  # yapf: disable


@pytest.mark.parametrize('name, change, wrong, remedy', FAULTS, ids=range(len(FAULTS)))
def test_what_does_not_fit_is_said_with_its_remedy(name, change, wrong, remedy):
    cfg = load_config(name)
    cfg.merge_from_dict(dict(model=copy.deepcopy(change)))
    before = cfg.pretty_text
    problems = check_config(cfg)
    assert wrong in problems[0] and remedy in problems[0], problems
    assert not any('\n' in problem for problem in problems)
    assert cfg.pretty_text == before


# each family, detector and neck once; the others are for `make exhaustive`
REPRESENTATIVE = {
    f'configs/{name}.py'
    for name in ('detection/faster_rcnn_odconv_r18', 'detection/mask_rcnn_swin_t', 'detection/yolov3_pvt_s',
                 'detection/retinanet_dogenet26', 'detection/faster_rcnn_coatnet0', 'detection/yolov3_dsnet_t',
                 'detection/mask_rcnn_vit_b16', 'detection/retinanet_conv2former_n',
                 'classification/swin_t_8xb128_in1k', 'classification/pvt_s_8xb128_in1k',
                 'classification/conv2former_n_cifar10', 'classification/odconv_r18_8xb32_in1k')
}


@pytest.mark.parametrize('path', [
    path if path in REPRESENTATIVE else pytest.param(path, marks=pytest.mark.exhaustive)
    for path in DETECTORS + CLASSIFIERS
])
def test_our_configs_raise_no_alarm_and_are_followed_to_the_heads(path):
    fit = check_fit(load(path))
    assert fit.problems == [] and fit.maps and fit.levels


# necks and heads of MMDetection that test_swap.py does not follow
STOCK = """
cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco
condinst/condinst_r50_fpn_ms-poly-90k_coco_instance cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco
detr/detr_r50_8xb2-150e_coco double_heads/dh-faster-rcnn_r50_fpn_1x_coco dyhead/atss_r50_fpn_dyhead_1x_coco
faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco groie/mask-rcnn_r50_fpn_groie_1x_coco
grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco htc/htc_r50_fpn_1x_coco libra_rcnn/libra-retinanet_r50_fpn_1x_coco
nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco point_rend/point-rend_r50-caffe_fpn_ms-1x_coco
queryinst/queryinst_r50_fpn_1x_coco reppoints/reppoints-moment_r50_fpn_1x_coco rtmdet/rtmdet-ins_s_8xb32-300e_coco
solov2/solov2_r50_fpn_1x_coco ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco yolact/yolact_r50_1xb8-55e_coco
yolof/yolof_r50-c5_8xb8-1x_coco
""".split()


@pytest.mark.parametrize('name', STOCK)
def test_mmdetection_raises_no_alarm(name):
    fit = check_fit(load_config(f'mmdet::{name}.py'))
    assert fit.problems == [] and fit.maps and fit.levels


@pytest.mark.parametrize(
    'name',
    [
        'detectors/htc_r50-sac_1x_coco',  # deformable convolutions inside switchable ones
        'ld/ld_r18-gflv1-r101_fpn_1x_coco',  # a teacher's config, named from the root of MMDetection's repository
        'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco',  # a detector inside
    ])
def test_what_is_hard_to_build_is_followed_too(name):
    fit = check_fit(load_config(f'mmdet::{name}.py'))
    assert fit.problems == [] and fit.maps and fit.levels and not fit.unknown


def test_what_asks_for_values_is_built_on_the_cpu_and_followed(capsys, monkeypatch):
    from mmdet.models.necks import FPN
    init = FPN.__init__

    def reads_a_value(self, *args, **kwargs):
        init(self, *args, **kwargs)
        float(self.lateral_convs[0].conv.weight.sum())

    monkeypatch.setattr(FPN, '__init__', reads_a_value)
    fit = check_fit(load_config(RETINANET))
    assert fit.problems == [] and fit.levels.strides == (8, 16, 32, 64, 128)

    def never_runs(self, inputs):
        raise NotImplementedError('no values here')

    # and where it cannot be followed, the command says so, and why
    monkeypatch.setattr(FPN, 'forward', never_runs)
    assert main(['check', RETINANET]) == 0
    assert 'as far as it could be followed: model.neck (FPN)' in capsys.readouterr().out


def test_the_command_tells_what_fits_and_training_stops_before_data(tmp_path, capsys):
    assert main(['check', str(ROOT / 'configs/detection/faster_rcnn_dogenet26.py')]) == 0
    assert '4/8/16/32/64' in capsys.readouterr().out
    path = tmp_path / 'wrong.py'
    path.write_text(f"_base_ = '{FASTER_RCNN}'\nmodel = dict(neck=dict(in_channels=[64, 128, 256, 512]))\n")
    assert main(['check', str(path)]) == 1
    said = capsys.readouterr().err
    assert 'set model.neck.in_channels=[256, 512, 1024, 2048]' in said
    with pytest.raises(SystemExit) as stopped:  # there are no data: they are looked at later
        training.train([str(path), '--work-dir', str(tmp_path / 'work')])
    assert 'set model.neck.in_channels=[256, 512, 1024, 2048]' in str(stopped.value)
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('text, said', [('model = dict(', 'is no valid Python'), ("_base_ = []\n", 'has no model')])
def test_a_file_that_is_no_config_of_a_model_is_refused_in_one_line(text, said, tmp_path, capsys):
    path = tmp_path / 'config.py'
    path.write_text(text)
    assert main(['check', str(path)]) == 1
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1
