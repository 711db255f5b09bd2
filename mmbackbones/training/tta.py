"""Testing with augmentation: ``tools/test.py --tta``."""
import copy
from typing import List

from mmengine.config import Config, ConfigDict

from ..config.tree import find_root, nodes
from ..errors import InputError

__all__ = ['use_tta']

# of each library: what merges the results of all views, and the step that packs an image
MODELS = dict(mmdet='DetTTAModel', mmpretrain='AverageClsScoreTTA')
PACKING = ('PackDetInputs', 'PackInputs')
FLIP_KEYS = ('flip', 'flip_direction')


def use_tta(cfg: Config) -> None:
    """Wrap the model, and let the test pipeline give several views of each image.

    The config's ``tta_model`` and ``tta_pipeline`` are taken; without them, each image and its mirror image are tested,
    and MMDetection's or MMPretrain's own model merges the results.

    Args:
        cfg: changed in place. Where its model is wrapped already, only the pipeline may change.

    Raises:
        InputError: results of this model cannot be merged.
    """
    dataset = cfg.test_dataloader.dataset
    if not any(_kind(step) == 'TestTimeAug' for step in dataset.get('pipeline') or ()):
        dataset.pipeline = copy.deepcopy(cfg.get('tta_pipeline')) or _flipped(dataset.get('pipeline') or [])
    if cfg.model.get('module'):  # by the config itself
        return
    if not cfg.get('tta_model'):
        cfg.tta_model = _default_model(cfg)
    wrapper = copy.deepcopy(cfg.tta_model)
    if cfg.get('data_preprocessor'):  # the runner would give it to what is wrapped around the model
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        cfg.data_preprocessor = None
    cfg.model = ConfigDict(wrapper, module=cfg.model)


def _kind(step: dict) -> str:
    return str(step.get('type')).rpartition('.')[2]


def _flipped(pipeline: List[dict]) -> List[dict]:
    """A test pipeline that ends in two views of each image."""
    if not pipeline or _kind(pipeline[-1]) not in PACKING:
        raise InputError(
            '--tta: the test pipeline does not end in PackDetInputs or PackInputs, so no mirrored view can '
            'be put into it; give tta_pipeline in the config')
    *steps, pack = copy.deepcopy(list(pipeline))
    if _kind(pack) == 'PackDetInputs':
        keys = pack.get('meta_keys') or ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
        pack['meta_keys'] = tuple(dict.fromkeys((*keys, *FLIP_KEYS)))
    flips = [dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)]
    # annotations are of the image as it is: they are loaded before it is mirrored, and evaluated as they are
    return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]


def _default_model(cfg: Config) -> dict:
    scope = cfg.get('default_scope')
    root = find_root(cfg)
    if scope not in MODELS or (scope == 'mmdet' and root != ('model', )):
        raise InputError(f'--tta: nothing is known to merge the results of {cfg.model.type}; give tta_model in the '
                         f'config, for example dict(type=\'DetTTAModel\', ...)')
    if scope == 'mmpretrain':
        return dict(type=MODELS[scope])
    masks = [key for key in ('mask_head', 'panoptic_head') if cfg.model.get(key)]
    if (cfg.model.get('roi_head') or {}).get('mask_head'):
        masks.append('roi_head.mask_head')
    if masks:
        raise InputError(
            f'--tta: MMDetection merges boxes alone, and this model predicts masks (model.{masks[0]}); give '
            f'tta_model in the config')
    settings = cfg.model.get('test_cfg') or {}
    found = {
        name: next((node for path, node in nodes(settings) if path[-1:] == (name, ) and path[:1] != ('rpn', )), None)
        for name in ('nms', 'max_per_img')
    }
    nms = found['nms'] if isinstance(found['nms'], dict) else dict(type='nms', iou_threshold=0.5)
    return dict(type=MODELS[scope], tta_cfg=dict(nms=nms, max_per_img=found['max_per_img'] or 100))
