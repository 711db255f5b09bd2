"""The swap as a whole: the model, what is for the old backbone, the pixels, the recipe; and the file that says it."""
import copy
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from mmengine.config import Config

from ..catalogue import Backbone
from ..catalogue.libraries import find_row
from ..config.edit import Change, Plan, SwapError
from ..config.files import default_output, inherited_name, load_config, write_config
from ..config.fit import Fit, check_fit
from ..config.images import image_channels
from ..config.meta_run import model_class, parameters_of
from ..config.problem import Problem
from ..config.tree import find_root, first_neck, get
from ..messages import listed
from .classifier import swap_classifier
from .maps import check_neck, swap_maps
from .network import Network, measure_row
from .normalisation import swap_statistics
from .recipe import swap_recipe

__all__ = ['swap_backbone', 'swap_file']


def _drop_what_is_for_the_old_backbone(plan: Plan, fresh: Network) -> None:
    """Weights of the whole detector, freezing and learning rates by layer that only the old backbone has."""
    cfg = plan.cfg
    if cfg.get('load_from'):
        plan.set(('load_from', ), None, 'these weights are of the model with its old backbone')
    if get(plan.model, ('init_cfg', 'type')) == 'Pretrained':
        plan.set_model(('init_cfg', ), None, 'these weights are of the model with its old backbone')
    if cfg.get('pretrained_backbone') and not fresh.has_batch_norm:
        plan.set(('pretrained_backbone', ), {}, f'{fresh.row.name} has no batch norms, so nothing is frozen', True)
    if get(cfg._cfg_dict, ('optim_wrapper', 'constructor')) == 'LearningRateDecayOptimizerConstructor':
        plan.set(('optim_wrapper', 'constructor'), 'DefaultOptimWrapperConstructor',
                 "MMDetection's learning rates by layer know ConvNeXt's layers alone")
        plan.set(('optim_wrapper', 'paramwise_cfg'), {}, 'they go with these learning rates', replace=True)


def _missing_attribute(error: Optional[BaseException], kind: str) -> Optional[str]:
    """The attribute that an object of a class lacks, where that is what an error comes from; else None."""
    while error is not None:
        if isinstance(error, AttributeError) and type(error.obj).__name__ == kind:
            return error.name
        error = error.__cause__ or error.__context__
    return None


def _misfit(plan: Plan, row: Backbone, old: dict, problem: Problem) -> SwapError:
    """Why the changed model does not work."""
    model = plan.model
    missing = _missing_attribute(problem.error, model.backbone.type.rpartition('.')[2])
    if missing:
        parent = model_class(plan.cfg, model).__mro__[1].__name__
        return SwapError(f'{model.type} asks its backbone for {missing}, which {old.type} has and {row.name} has '
                         f'not. What fits: its plain form, {parent}')
    return SwapError(f'{model.type} does not take {row.name}: {problem}')


def _plan_swap(cfg: Config, row: Backbone, recipe: bool) -> Plan:
    root = find_root(cfg)
    if root is None:
        raise SwapError(
            f'{get(cfg._cfg_dict, ("model", "type")) or "the config"} has no backbone of its own; a detector, or a '
            f'classifier of type ImageClassifier, has a key model.backbone')
    plan = Plan(cfg, root)
    _change_model(plan, row)
    if recipe:
        swap_recipe(plan, row, get(cfg._cfg_dict, (*root, 'backbone')))
    return plan


def _take_channels_of_the_image(plan: Plan) -> None:
    channels = image_channels(plan.cfg)
    if channels not in (None, 3) and 'in_channels' in parameters_of(plan.cfg, plan.model.backbone):
        plan.set_model(('backbone', 'in_channels'), channels, 'channels of the images that the pipeline loads')


def _change_model(plan: Plan, row: Backbone) -> None:
    """Everything but the recipe."""
    cfg, old = plan.cfg, copy.deepcopy(plan.model.backbone)
    classifier = cfg.get('default_scope') == 'mmpretrain'
    _check_kind(plan, classifier)
    check_neck(plan, row.name)
    fit = _present_fit(cfg, classifier)
    network = measure_row(cfg, row)
    if classifier:
        swap_classifier(plan, fit, network)
    else:
        swap_maps(plan, fit, network)
    _take_channels_of_the_image(plan)
    _drop_what_is_for_the_old_backbone(plan, network)
    if network.has_batch_norm and not classifier:
        _keep_freezing(plan, old)
    _say_which_weights(plan, row)
    if image_channels(cfg) == 1:
        plan.keep('data_preprocessor', 'stays: the weights of no backbone of the catalogue are for grey images')
    else:
        swap_statistics(plan, row)
    _check_result(plan, row, old, fit)


def _check_kind(plan: Plan, classifier: bool) -> None:
    """Refuse a config that is no detector or classifier by itself."""
    kind = plan.model.type
    if not plan.cfg.get('default_scope'):
        raise SwapError(
            'the config names no default_scope, so nothing tells whose types it has: it is a part for others '
            'to inherit. What fits: a config that can be trained')
    if classifier and kind != 'ImageClassifier':
        raise SwapError(f'{kind} is no ImageClassifier: its backbone does more than give maps. What fits: the config '
                        f'of a classifier, such as mmpretrain::resnet/resnet50_8xb32_in1k.py')


def _present_fit(cfg: Config, classifier: bool) -> Fit:
    """What the config's own backbone gives; the new one must take its place."""
    fit = check_fit(cfg)
    if fit.problems:
        raise SwapError(f'the config itself does not fit: {fit.problems[0]}')
    if fit.maps is None and not classifier:
        raise SwapError(f'the present backbone cannot be followed, so it is not known what must change: {fit.unknown}')
    return fit


def _keep_freezing(plan: Plan, old: dict) -> None:
    """What the old backbone was frozen by holds for the new one where it starts from published weights."""
    freezing = {key: old[key] for key, off in (('frozen_stages', -1), ('norm_eval', False)) if old.get(key, off) != off}
    if freezing:
        plan.set(('pretrained_backbone', ), freezing, 'frozen only where --backbone-weights gives weights')


def _say_which_weights(plan: Plan, row: Backbone) -> None:
    ways, published = 'init_cfg', ''
    if row.implementation in ('timm', 'torchvision'):
        ways, published = 'init_cfg or pretrained', f'; `mmbackbones info {row.name}` names those that are published'
    plan.keep(
        plan.key('backbone'),
        f'starts from random weights without --backbone-weights FILE or, in the backbone, {ways}{published}')


def _check_result(plan: Plan, row: Backbone, old: dict, before: Fit) -> None:
    """Follow the changed model, which must fit as far as the original does."""
    after = check_fit(plan.cfg)
    if after.problems:
        raise _misfit(plan, row, old, after.problems[0])
    if before.levels is not None and after.levels is None:
        neck, inside = first_neck(plan.model)
        raise SwapError(
            f'{plan.key(*inside)} ({neck.type}) needs more of its backbone ({old.type}) than maps, so {row.name} does '
            f'not fit; a config with another neck, such as FPN, takes it')


def swap_backbone(cfg: Config, name: str, recipe: bool = False) -> Tuple[Config, List[Change]]:
    """Put a backbone of the catalogue, timm or torchvision into a config, and change what must change with it.

    Args:
        cfg: a detector of MMDetection or a classifier of MMPretrain; it is not changed. Of a tracker, or a teacher with
            a student, the detector inside takes the backbone.
        name: as in ``mmbackbones list``, or ``timm:NAME`` or ``torchvision:NAME`` for any other of theirs.
        recipe: train as the backbone's authors do, too.

    Returns:
        tuple: the new config, and what was changed, with reasons.

    Raises:
        KeyError: no such backbone; it lists the nearest ones.
        SwapError: the detector cannot take it.
    """
    plan = _plan_swap(cfg, find_row(name), recipe)
    return plan.cfg, plan.changes


def swap_file(config: str,
              name: str,
              output: Optional[str] = None,
              recipe: bool = False,
              force: bool = False) -> Tuple[Path, List[Change]]:
    """Write a short config that inherits from another one and has a backbone of the catalogue, timm or torchvision.

    Args:
        config: path, or name such as ``mmdet::retinanet/retinanet_r50_fpn_1x_coco.py``.
        name: as :func:`swap_backbone` takes it.
        output: file to write. Defaults to None: :func:`default_output` in the current folder.
        recipe: see :func:`swap_backbone`.
        force: overwrite the file.

    Returns:
        tuple: the file, and what was changed, with reasons.

    Raises:
        FileExistsError: the file is there, and not to be overwritten.
        KeyError, FileNotFoundError, SwapError: as :func:`swap_backbone` and :func:`load_config`.
    """
    row = find_row(name)  # its error is cheaper than the others
    target = Path(output or default_output(config, name))
    if '::' not in config and Path(config).resolve() == target.resolve():
        raise FileExistsError(f'{target} is the config itself, and would inherit itself; -o FILE writes another')
    if target.exists() and not force:
        raise FileExistsError(f'{target} exists; --force overwrites it, -o FILE writes another')
    plan = _plan_swap(load_config(config), row, recipe)
    reasons: Dict[str, List[str]] = {}
    for change in plan.changes:
        reasons.setdefault(change.why, []).append(change.what.partition('=')[0])
    comments = [
        f'{plan.model.type} on {name}, from {config}.', '',
        f'mmbackbones swap {config} {name}{" --recipe" if recipe else ""}', '',
        *(f'- {listed(keys)}: {why}' for why, keys in reasons.items())
    ]
    write_config(target, inherited_name(config, target), comments, plan.assignments())
    return target, plan.changes
