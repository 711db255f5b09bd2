"""The parts of a config beside the model: whether their types, arguments and values are such that a run can start.

What costs nothing is built on stand-ins (transforms, data loaders, the optimizer, its schedules); of the rest the types
and the names of the arguments are looked at. What remains is said by :func:`mmbackbones.config.blame.building` when it
is built.
"""
import contextlib
import copy
import inspect
import logging
import math
import warnings
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import torch
from mmengine import registry
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from ..errors import InputError
from ..messages import did_you_mean, listed
from .blame import UNKNOWN, building, find_type, names_of, parameters
from .problem import ConfigError, Problem
from .tree import dotted, kind_of, nodes

__all__ = ['Part', 'check_kinds', 'check_optimizer', 'check_parts', 'runner_keys', 'scope_of']

DICTS = ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'optim_wrapper', 'train_cfg', 'val_cfg',
         'test_cfg', 'env_cfg', 'randomness', 'auto_scale_lr', 'log_processor', 'default_hooks', 'visualizer',
         'data_preprocessor', 'model_wrapper_cfg', 'tta_model', 'strategy')
DICTS_OR_LISTS = ('val_evaluator', 'test_evaluator', 'param_scheduler')
LISTS = ('custom_hooks', 'tta_pipeline')
STRINGS = ('work_dir', 'load_from', 'default_scope', 'log_level', 'data_root', 'launcher', 'experiment_name')
KINDS = (
    (DICTS, dict, 'a dict'),
    (DICTS_OR_LISTS, (dict, list, tuple), 'a dict or a list of dicts'),
    (LISTS, (list, tuple), 'a list'),
    (STRINGS, str, 'a string'),
)
SPLITS = ('train', 'val', 'test')
RUNNERS = ('Runner', 'FlexibleRunner')
# all there or none of them
MODEL_PARTS = ('backbone', 'neck', '_head')
NEEDED = (('train_dataloader', 'train_cfg', 'optim_wrapper'), ('val_dataloader', 'val_cfg', 'val_evaluator'),
          ('test_dataloader', 'test_cfg', 'test_evaluator'))
# keys of a data loader that the runner takes, beside the arguments of torch's
LOADER_KEYS = ('num_batch_per_epoch', 'disable_subprocess_warning')
# types of values that some annotations mean, and how they are called
SIMPLE = {(int, float): 'a number', (bool, int): 'True or False', (str, ): 'a text'}
MOST_WORKERS = 1024  # more are a slip of the keyboard, and would end the machine
COUNTS = {'max_epochs': 1, 'max_iters': 1, 'val_interval': 1, 'val_begin': 0}


class Part(NamedTuple):
    """A dict of the config with a type.

    Attributes:
        key: the keys that lead to it, ``train_dataloader.sampler``.
        node: the dict.
        registry: MMEngine's, which the type is looked for in.
        given: arguments that the runner adds.
    """
    key: str
    node: dict
    registry: Registry
    given: Tuple[str, ...] = ()


def runner_keys() -> Set[str]:
    """Keys at the top of a config that have a meaning, whether or not a config has them."""
    others = ('find_unused_parameters', 'activation_checkpointing', 'efficient_conv_bn_eval', 'compile',
              'pretrained_backbone', 'custom_imports', 'backend_args', 'resume', 'runner_type')
    return {*inspect.signature(Runner.__init__).parameters, *(key for keys, _, _ in KINDS
                                                              for key in keys), *others} - {'self', 'cfg'}


def scope_of(cfg: Config) -> str:
    """The default scope of a config's types."""
    return cfg.get('default_scope') or 'mmengine'


def check_kinds(cfg: Config) -> None:
    """Make sure that what everything else relies on is there: dicts where dicts belong.

    Raises:
        InputError: it names the key.
    """
    _check_top(cfg)
    _check_hooks(cfg)
    _check_model(cfg)
    for split in SPLITS:
        _check_datasets(cfg, f'{split}_dataloader')


def _check_top(cfg: Config) -> None:
    """Types of the values at the top of a config, and of what lies in its lists."""
    for path, node in nodes(cfg._cfg_dict):
        if path[-1:] == ('_scope_', ) and not isinstance(node, (str, type(None))):
            raise InputError(f'{dotted(path)}={node!r}: expected the name of a package')
    for keys, kinds, said in KINDS:
        for key in keys:
            value = cfg.get(key)
            if value is not None and not isinstance(value, kinds):
                raise InputError(f'{key}={value!r}: expected {said}')
    for key in DICTS_OR_LISTS + LISTS:
        for index, each in enumerate(cfg.get(key) or () if isinstance(cfg.get(key), (list, tuple)) else ()):
            if not isinstance(each, dict):
                raise InputError(f'{key}[{index}]={each!r}: expected a dict')
    if cfg.get('runner_type', 'Runner') not in RUNNERS:
        raise InputError(f'runner_type={cfg.runner_type!r}: expected one of {listed(RUNNERS)}')
    if cfg.get('strategy') is not None and cfg.get('runner_type') != 'FlexibleRunner':
        raise InputError("strategy is for MMEngine's FlexibleRunner: add runner_type='FlexibleRunner'")


def _check_hooks(cfg: Config) -> None:
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is not None and not isinstance(hook, dict):
            raise InputError(f'default_hooks.{name}={hook!r}: expected a dict, or None to leave the hook out')
        if hook is not None and hook.get('type') is None:
            raise InputError(f"default_hooks.{name} has no type{did_you_mean('type', list(hook))}")


def _check_model(cfg: Config) -> None:
    if not cfg.get('model'):
        near = did_you_mean('model', [key for key in cfg if key not in runner_keys()])
        raise InputError(f'the config has no model: it is a part for others to inherit{near}')
    if 'type' not in cfg.model:
        raise InputError("model has no type: expected, for example, type='FasterRCNN'")
    for path, node in nodes(cfg.model):
        if path and isinstance(path[-1], str) and path[-1].endswith(MODEL_PARTS) and node is not None:
            whole = node if isinstance(node, (list, tuple)) and node and path[-1] != 'backbone' else [node]
            if not all(isinstance(each, dict) for each in whole):
                raise InputError(f'{dotted(("model", *path))}={node!r}: expected a dict with a type')


def _check_datasets(cfg: Config, loader: str) -> None:
    """The data sets of a loader, those inside of others too, and their pipelines."""
    if cfg.get(loader) is None:
        return
    dataset = cfg[loader].get('dataset', {})
    if not (isinstance(dataset, dict) and dataset):
        raise InputError(f'{loader}.dataset={dataset!r}: expected a dict with the type of the data set')
    for path, node in nodes(dataset):
        key = dotted((loader, 'dataset', *path))
        if path[-1:] == ('datasets', ) or path[-1:] == ('pipeline', ) and node is not None:
            _check_list(node, key)
        if path[-1:] == ('dataset', ) and not isinstance(node, dict):
            raise InputError(f'{key}={node!r}: expected a dict with the type of the data set')


def _check_list(node: Any, key: str) -> None:
    if not isinstance(node, (list, tuple)):
        raise InputError(f'{key}={node!r}: expected a list of dicts')
    for index, step in enumerate(node):
        if not isinstance(step, dict):
            raise InputError(f'{key}[{index}]={step!r}: expected a dict with a type')


def _each(value: Any, key: str) -> Iterator[Tuple[str, dict]]:
    """A dict or a list of dicts as (key, dict)."""
    if isinstance(value, dict):
        yield key, value
    else:
        for index, each in enumerate(value or ()):
            yield f'{key}[{index}]', each


def _datasets(node: dict, key: str) -> Iterator[Tuple[str, dict]]:
    """A data set and those inside of it."""
    yield key, node
    if isinstance(node.get('dataset'), dict):
        yield from _datasets(node['dataset'], f'{key}.dataset')
    for index, each in enumerate(node.get('datasets') or ()):
        yield from _datasets(each, f'{key}.datasets[{index}]')


def _steps(cfg: Config, splits: Sequence[str]) -> Iterator[Part]:
    """The outermost transforms of all pipelines."""
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for key, node in _datasets(loader['dataset'], f'{split}_dataloader.dataset') if loader else ():
            for index, step in enumerate(node.get('pipeline') or ()):
                yield Part(f'{key}.pipeline[{index}]', step, registry.TRANSFORMS)


def _parts(cfg: Config, splits: Sequence[str]) -> Iterator[Part]:
    """What is looked at by type and arguments: all but the model, and the transforms, which are built."""
    for split in splits:
        name = f'{split}_dataloader'
        loader = cfg.get(name)
        if loader:
            for key, node in _datasets(loader['dataset'], f'{name}.dataset'):
                yield Part(key, node, registry.DATASETS)
            for key, given in (('sampler', ('dataset', 'seed')), ('batch_sampler', ('sampler', 'batch_size'))):
                if loader.get(key) is not None:
                    yield Part(f'{name}.{key}', loader[key], registry.DATA_SAMPLERS, given)
            if loader.get('collate_fn') is not None:
                yield Part(f'{name}.collate_fn', loader['collate_fn'], registry.FUNCTIONS, ('data_batch', ))
        loop = cfg.get(f'{split}_cfg')
        if loop is not None:
            usual = f'{split.title()}Loop' if split != 'train' else 'EpochBasedTrainLoop' if loop.get(
                'by_epoch', True) else 'IterBasedTrainLoop'
            loop = {'type': usual, **{key: value for key, value in loop.items() if key != 'by_epoch'}}
            yield Part(f'{split}_cfg', loop, registry.LOOPS, ('runner', 'dataloader', 'evaluator'))
        for key, node in _each(cfg.get(f'{split}_evaluator'), f'{split}_evaluator'):
            if 'metrics' in node:
                yield Part(key, dict({'type': 'Evaluator'}, **node), registry.EVALUATOR)
                yield from (Part(*each, registry.METRICS) for each in _each(node['metrics'], f'{key}.metrics')
                            if isinstance(each[1], dict))
            else:
                yield Part(key, node, registry.METRICS)
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is not None:
            yield Part(f'default_hooks.{name}', hook, registry.HOOKS, ('priority', ))
    for key, hook in _each(cfg.get('custom_hooks'), 'custom_hooks'):
        yield Part(key, hook, registry.HOOKS, ('priority', ))
    if cfg.get('visualizer') is not None:
        yield Part('visualizer', dict(dict(type='Visualizer'), **cfg.visualizer), registry.VISUALIZERS,
                   ('name', 'save_dir'))
        for key, backend in _each(cfg.visualizer.get('vis_backends'), 'visualizer.vis_backends'):
            if isinstance(backend, dict):
                yield Part(key, backend, registry.VISBACKENDS, ('save_dir', ))
    if cfg.get('log_processor') is not None:
        yield Part('log_processor', dict(dict(type='LogProcessor'), **cfg.log_processor), registry.LOG_PROCESSORS)


def _arguments(target: Callable) -> Optional[Tuple[Set[str], Set[str]]]:
    """Names of all arguments of a class or function, and of those that it needs; None where it takes any."""
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    return {each.name for each in named}, {each.name for each in named if each.default is each.empty}


def _kinds(annotation: Any) -> Tuple[type, ...]:
    """The types of the values that an annotation takes, where it is a simple one."""
    return {int: (int, float), float: (int, float), bool: (bool, int), str: (str, )}.get(annotation, ()) \
        if isinstance(annotation, type) else ()


def _look_at(part: Part, scope: str) -> Optional[Problem]:
    """What is wrong with a part's type or the names of its arguments; None where nothing is."""
    if not isinstance(part.node, dict):
        return Problem((part.key, ), f'={part.node!r}: expected a dict with a type')
    scope, kind = part.node.get('_scope_', scope), part.node.get('type')
    if kind is None:
        return Problem((part.key, ), ' has no type')
    target = find_type(part.registry, kind, scope)
    if target is None:
        hint = did_you_mean(kind, names_of(part.registry, scope), otherwise=UNKNOWN)
        return Problem((part.key, ), f': type={kind!r} is not known{hint}')
    return _annotation_problem(part, target) or _argument_problem(part, target)


def _annotation_problem(part: Part, target: Callable) -> Optional[Problem]:
    """Whether a value is of another type than the annotation of its argument says, where that is a simple one."""
    if part.registry is registry.TRANSFORMS:  # some of them take tuples; they are built anyway
        return None
    for name, parameter in parameters(target).items():
        kinds, value = _kinds(parameter.annotation), part.node.get(name)
        if kinds and name in part.node and not isinstance(value, kinds) and value != parameter.default:
            return Problem((part.key, name), f'={value!r} ({kind_of(dict(type=target))}): expected {SIMPLE[kinds]}')
    return None


def _argument_problem(part: Part, target: Callable) -> Optional[Problem]:
    """Whether a part has an argument that its class does not know, or lacks one that it needs."""
    arguments = _arguments(target)
    if arguments is None:
        return None
    known, needed = arguments
    kind = kind_of(dict(type=target))
    given = {key for key in part.node if key not in ('type', '_scope_')}
    for name in sorted(given - known - set(part.given)):
        known_here = sorted(known - set(part.given) - {'self'})
        hint = did_you_mean(name, known_here, otherwise=f'it has {listed(known_here) or "none"}')
        return Problem((part.key, ), f' ({kind}) has no argument {name!r}{hint}')
    lacking = sorted(needed - given - set(part.given))
    return Problem((part.key, ), f' ({kind}) needs {listed(lacking)}') if lacking else None


@contextlib.contextmanager
def _trial() -> Iterator[None]:
    """Within, nothing is logged, and the random states stay."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)


def _try(key: str, node: dict, scope: str, build: Callable[[dict], Any]) -> Optional[Problem]:
    """Build a part, and find the argument that is at fault where it fails.

    Args:
        key: of the part.
        node: its config.
        scope: of its types.
        build: takes a copy of the config.
    """

    def attempt(config: dict) -> Optional[Problem]:
        try:
            with DefaultScope.overwrite_default_scope(scope), building((key, ), node, scope):
                build(copy.deepcopy(config))
        except ConfigError as error:
            return error.problem
        except InputError as error:
            return Problem((), str(error))
        return None

    problem = attempt(node)
    if problem is None or problem.path != (key, ):
        return problem
    for name in node:
        if name not in ('type', '_scope_') and attempt({k: v for k, v in node.items() if k != name}) is None:
            return problem._replace(path=(key, name), text=f'={node[name]!r}{problem.text}')
    return problem


def _build_optimizer(optimizer: dict) -> torch.optim.Optimizer:
    return registry.OPTIMIZERS.build(optimizer, default_args=dict(params=nn.Linear(1, 1).parameters()))


def _loader_problem(key: str, loader: dict, scope: str) -> Optional[Problem]:
    """Try the options of torch's data loader on a list of numbers; no worker is started."""
    options = {
        name: value
        for name, value in loader.items()
        if name not in ('dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn')
    }
    known = _arguments(DataLoader)[0] | set(LOADER_KEYS)
    for name in options:
        if name not in known:
            return Problem((key, ), f' has no option {name!r}{did_you_mean(name, sorted(known))}')
    for name in ('dataset', 'sampler'):
        if loader.get(name) is None:
            near = did_you_mean(name, [each for each in options if each not in known])
            return Problem((key, ), f' has no {name}{near}')
    if 'batch_size' not in loader and loader.get('batch_sampler') is None:
        return Problem((key, ), ' has no batch_size')
    for name, lowest in (('batch_size', 1), ('num_workers', 0), ('num_batch_per_epoch', 1)):
        problem = _count_problem(key, options, name, lowest)
        if problem:
            return problem
    if options.get('num_workers', 0) > MOST_WORKERS:
        return Problem((key, 'num_workers'), f'={options["num_workers"]}: expected at most {MOST_WORKERS}')
    if options.get('persistent_workers') and not options.get('num_workers'):
        return Problem((key, 'persistent_workers'), '=True needs num_workers above 0: set it to False')
    return _try(key, {
        name: value
        for name, value in options.items() if name not in LOADER_KEYS
    }, scope, lambda each: DataLoader([0, 1], **each))


def _count_problem(key: str, node: dict, name: str, lowest: int, whole: Tuple[type,
                                                                              ...] = (int, )) -> Optional[Problem]:
    value = node.get(name)
    if value is None or type(value) in whole and math.isfinite(value) and value == int(value) >= lowest:
        return None
    return Problem((key, name), f'={value!r}: expected a whole number from {lowest} up')


def _not_finite(tree: Any, key: str) -> Optional[Problem]:
    for path, node in nodes(tree):
        if isinstance(node, float) and not math.isfinite(node):
            return Problem((key, *path), f'={node}: expected a finite number')
    return None


def _optimizer_problems(cfg: Config, scope: str) -> Iterator[Optional[Problem]]:
    """Optimizer and schedules, tried on a layer of one weight."""
    wrapper = cfg.optim_wrapper
    yield _look_at(Part('optim_wrapper', dict(dict(type='OptimWrapper'), **wrapper), registry.OPTIM_WRAPPERS,
                        ('optimizer', 'constructor', 'paramwise_cfg')), scope)  # yapf: disable
    if wrapper.get('constructor') is not None:
        part = Part('optim_wrapper.constructor', dict(type=wrapper.constructor), registry.OPTIM_WRAPPER_CONSTRUCTORS,
                    ('optim_wrapper_cfg', 'paramwise_cfg'))
        yield _look_at(part, scope)
    optimizer = wrapper.get('optimizer')
    if optimizer is None:
        if wrapper.get('constructor') is None:
            yield Problem(('optim_wrapper', ), f' has no optimizer{did_you_mean("optimizer", list(wrapper))}')
        return
    if not isinstance(optimizer, dict):
        yield Problem(('optim_wrapper', 'optimizer'), f'={optimizer!r}: expected a dict with a type')
        return
    key = 'optim_wrapper.optimizer'
    part = Part(key, optimizer, registry.OPTIMIZERS, ('params', ))
    problem = _look_at(part, scope) or _not_finite(wrapper, 'optim_wrapper') or _try(
        key, optimizer, scope, _build_optimizer)
    yield problem
    if problem:
        return
    with DefaultScope.overwrite_default_scope(scope):
        built = _build_optimizer(copy.deepcopy(optimizer))
    loop = cfg.get('train_cfg') or {}
    for key, schedule in _each(cfg.get('param_scheduler'), 'param_scheduler'):
        if 'type' not in schedule and any(isinstance(each, (dict, list)) for each in schedule.values()):
            continue  # of several optimizers by name
        part = Part(key, schedule, registry.PARAM_SCHEDULERS, ('optimizer', 'epoch_length', 'convert_to_iter_based'))
        end = loop.get(
            'max_epochs' if schedule.get('by_epoch', True) else 'max_iters') or 10**9  # not known before the data

        def build(each: dict, end=end) -> None:
            each.setdefault('end', end)
            registry.PARAM_SCHEDULERS.build(
                each, default_args=dict(optimizer=OptimWrapper(copy.deepcopy(built)), epoch_length=10))

        yield _look_at(part, scope) or _not_finite(schedule, key) or _try(key, schedule, scope, build)


def _loop_problems(cfg: Config, splits: Sequence[str]) -> Iterator[Optional[Problem]]:
    """Whether what a loop needs is there as a whole, and its counts are counts."""
    for names in NEEDED:
        given = [name for name in names if cfg.get(name) is not None]
        if given and len(given) < len(names):
            lacking = [name for name in names if name not in given]
            unused = [key for key in cfg if key not in runner_keys()]
            near = ''.join(did_you_mean(name, unused, 0.8) for name in lacking)
            yield Problem((), f'the config has {" and ".join(given)}, but no {" and no ".join(lacking)}{near}')
    loop = cfg.get('train_cfg') if 'train' in splits else None
    if loop is None:
        return
    for name, lowest in COUNTS.items():
        yield _count_problem('train_cfg', loop, name, lowest, (int, float))
    if 'type' not in loop and 'by_epoch' not in loop:
        yield Problem(('train_cfg', ), " has no type: expected, for example, type='EpochBasedTrainLoop'")
    if 'type' in loop and 'by_epoch' in loop:
        yield Problem(('train_cfg', ), ' has both type and by_epoch: leave one out')


def check_parts(cfg: Config, splits: Sequence[str] = SPLITS) -> List[Problem]:
    """What is wrong with the parts beside the model.

    Args:
        cfg: not changed; :func:`check_kinds` has passed it, and the library of its scope is registered.
        splits: which of ``'train'``, ``'val'``, ``'test'`` are looked at.
    """
    scope = scope_of(cfg)
    problems: List[Optional[Problem]] = list(_loop_problems(cfg, splits))
    for part in _parts(cfg, splits):
        problems.append(_look_at(part, scope))
    with _trial():
        for part in _steps(cfg, splits):
            problem = _look_at(part, scope)
            problems.append(problem or _try(part.key, part.node, scope, registry.TRANSFORMS.build))
        for split in splits:
            if cfg.get(f'{split}_dataloader'):
                problems.append(_loader_problem(f'{split}_dataloader', cfg[f'{split}_dataloader'], scope))
        if 'train' in splits and cfg.get('optim_wrapper') is not None:
            problems += _optimizer_problems(cfg, scope)
    # a data set that two splits share is said once
    return list({str(problem): problem for problem in problems if problem}.values())


def check_optimizer(cfg: Config, model: nn.Module) -> List[Problem]:
    """Build the optimizer for a model on the meta device.

    Args:
        cfg: not changed.
        model: as :func:`mmbackbones.config.meta_run.build` gives it.
    """
    wrapper = cfg.get('optim_wrapper')
    if wrapper is None:
        return []
    if str(wrapper.get('type', '')).endswith('AmpOptimWrapper') and not torch.cuda.is_available():
        return [
            Problem(('optim_wrapper', 'type'), "='AmpOptimWrapper': mixed precision needs a GPU, and torch sees none; "
                    "take 'OptimWrapper'")
        ]
    with _trial():
        problem = _try('optim_wrapper', wrapper, scope_of(cfg), lambda each: build_optim_wrapper(model, each))
    return [problem] if problem else []
