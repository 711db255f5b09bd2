"""Training as the backbone's authors do."""
import math
from typing import Any, Dict, Optional

from ..catalogue import Backbone, load_catalogue
from ..catalogue.recipes import CLASSIFIERS, RECIPES, Recipe, find_recipe
from ..config.edit import Plan
from ..config.tree import get

__all__ = ['swap_recipe']


def _variant(row: Backbone, rates: Dict[str, float]) -> Optional[float]:
    """What a table of a recipe says of this variant; None where it does not name it."""
    arch, model_name = row.config.get('arch'), row.config.get('model_name', '')
    return rates.get(arch, next((rate for name, rate in rates.items() if f'_{name}' in model_name), None))


def _is_own_recipe(plan: Plan, backbone: dict) -> bool:
    """Whether a config trains with AdamW for the sake of the backbone that it had, and not of the detector."""
    kind = str(backbone.get('type')).rpartition('.')[2]
    special = {('ConvNeXt', None)} | {(row.config['type'].rpartition('.')[2], row.config.get('model_name'))
                                      for row in load_catalogue() if row.config and row.family in RECIPES}
    keys = get(plan.cfg._cfg_dict, ('optim_wrapper', 'paramwise_cfg', 'custom_keys')) or {}
    return (kind, backbone.get('model_name')) in special and not any(
        'lr_mult' in value for key, value in keys.items() if key.startswith('backbone'))


def swap_recipe(plan: Plan, row: Backbone, old: dict) -> None:
    """Train as the backbone's authors do.

    Args:
        plan: with the new backbone.
        row: of the new backbone.
        old: config of the backbone before.
    """
    cfg, optimizer = plan.cfg, get(plan.cfg._cfg_dict, ('optim_wrapper', 'optimizer'))
    recipe = find_recipe(row.family, get(cfg._cfg_dict, ('train_cfg', 'max_epochs')))
    reason = _why_nothing_changes(plan, row, recipe, optimizer, old)
    if reason:
        plan.keep('optim_wrapper.optimizer', reason)
        return
    classifier = cfg.get('default_scope') == 'mmpretrain'
    recipe = CLASSIFIERS if classifier else recipe
    rate = _set_optimizer(plan, recipe, classifier)
    _set_parameter_options(plan, row, recipe, classifier)
    drop = None if classifier else _variant(row, recipe.drop_path_rate)
    if drop is not None:
        path = ('model_args', 'drop_path_rate') if 'model_name' in row.config else ('drop_path_rate', )
        plan.set_model(('backbone', *path), drop, f'as in {recipe.source}')
    _set_schedule(plan, recipe, rate / optimizer.lr if optimizer.get('lr') else None, classifier)
    if recipe.pretrained and not classifier:
        plan.set(('pretrained_backbone', ),
                 dict(recipe.pretrained),
                 'two images a GPU are too few for batch statistics; only where --backbone-weights gives weights',
                 replace=True)


def _why_nothing_changes(plan: Plan, row: Backbone, recipe: Optional[Recipe], optimizer: Optional[dict],
                         old: dict) -> Optional[str]:
    """Why a config keeps its optimizer; None where it takes the recipe's."""
    if optimizer is None:
        return 'the config trains with no optimizer, so there is no recipe to change'
    is_own = optimizer.type == 'AdamW' and _is_own_recipe(plan, old)
    if recipe is None:
        origin = 'the backbone before, so another config of this model suits better' if is_own else 'the config'
        return f'stays {optimizer.type}, as {row.family} has no recipe of its own; it is that of {origin}'
    if optimizer.type == 'AdamW' and not is_own:
        return f'stays as it is: {plan.model.type} itself trains with AdamW, and its rates are for its heads'
    return None


def _set_optimizer(plan: Plan, recipe: Recipe, classifier: bool) -> float:
    """Set AdamW with the recipe's learning rate for the config's batch, and return this rate."""
    batch = get(plan.cfg._cfg_dict, ('auto_scale_lr', 'base_batch_size')) or recipe.batch
    rate = recipe.two_stage_lr if recipe.two_stage_lr and plan.model.get('roi_head') else recipe.lr
    said = f'as in {recipe.source}; {rate:g} for batch {recipe.batch}'
    if batch != recipe.batch:
        share = batch / recipe.batch
        rate *= share if classifier else math.sqrt(share)
        said += f', times {"" if classifier else "the root of "}{batch} / {recipe.batch}'
    plan.set(('optim_wrapper', 'optimizer'),
             dict(type='AdamW', lr=float(f'{rate:.6g}'), weight_decay=recipe.weight_decay),
             said,
             replace=True)
    return rate


def _set_schedule(plan: Plan, recipe: Recipe, share: Optional[float], classifier: bool) -> None:
    """Let what depends on the learning rate follow it, and lengthen the warm-up of detectors.

    Args:
        plan: of the swap.
        recipe: of the new backbone.
        share: the new learning rate in terms of the old one; None where that is not known.
        classifier: whether the config is one of a classifier.
    """
    schedule = plan.cfg.get('param_scheduler')
    for index, step in enumerate(schedule if isinstance(schedule, (list, tuple)) else ()):
        if step.get('eta_min') and share:
            plan.set(('param_scheduler', index, 'eta_min'), float(f'{step.eta_min * share:.6g}'),
                     'the same share of the learning rate as before')
        if not classifier and step.get('type') == 'LinearLR' and not step.get('by_epoch', True) \
                and step.get('end', 0) < recipe.warmup:
            plan.set(('param_scheduler', index, 'end'), recipe.warmup, f'a longer warm-up, as in {recipe.source}')


def _set_parameter_options(plan: Plan, row: Backbone, recipe: Recipe, classifier: bool) -> None:
    """Weight decay of some parameters, and learning rates that shrink towards the input."""
    options: Dict[str, Any] = {}
    why = []
    if recipe.undecayed:
        options = dict(norm_decay_mult=0., custom_keys={name: dict(decay_mult=0.) for name in recipe.undecayed})
        why.append('no weight decay on norms and tables of positions')
    if classifier:
        options.update(bias_decay_mult=0.)
    decay = _variant(row, recipe.layer_decay_rate)
    if decay is not None:
        plan.set(('optim_wrapper', 'constructor'), 'mmbackbones.LayerDecayOptimWrapperConstructor',
                 f'learning rates shrink towards the input, as in {recipe.source}')
        options.update(layer_decay_rate=decay)
        why.append(f'{decay:g} times the learning rate for each block')
    if options:
        plan.set(('optim_wrapper', 'paramwise_cfg'), options, '; '.join(why))
