"""Child registries of MMEngine under the scope ``mmbackbones``.

MMEngine imports ``<scope>.registry`` by itself when it meets a type such as
``mmbackbones.ODConvResNet``, and then the modules under ``locations``: configs
need no ``custom_imports``, in the tools of MMDetection and MMPretrain too.
Nothing is registered at MMEngine's root, where our names would shadow others.
"""
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

__all__ = ['DATASETS', 'DATA_SAMPLERS', 'HOOKS', 'LOOPS', 'MODELS', 'OPTIM_WRAPPER_CONSTRUCTORS', 'TRANSFORMS']

MODELS = Registry(
    'model', parent=MMENGINE_MODELS, scope='mmbackbones', locations=['mmbackbones.layers', 'mmbackbones.models'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmbackbones', locations=['mmbackbones.hooks'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='mmbackbones', locations=['mmbackbones.datasets'])
DATA_SAMPLERS = Registry(
    'data sampler', parent=MMENGINE_DATA_SAMPLERS, scope='mmbackbones', locations=['mmbackbones.datasets.sampler'])
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='mmbackbones', locations=['mmbackbones.training.loops'])
TRANSFORMS = Registry(
    'transform', parent=MMENGINE_TRANSFORMS, scope='mmbackbones', locations=['mmbackbones.transforms'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmbackbones',
    locations=['mmbackbones.optim'])
