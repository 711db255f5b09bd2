"""Any network of timm as a row of the catalogue, made when it is asked for: ``timm:NAME``."""
import difflib
from typing import Sequence, Tuple

from mmengine.registry import MODELS

from .catalogue import IMAGENET_MEAN, IMAGENET_STD, Backbone, find_backbone
from .complexity import count_complexity
from .follow import on_meta

__all__ = ['TIMM', 'find_row']

TIMM = 'timm:'
# timm's file of an architecture -> its family in the catalogue, or in the recipes
FAMILIES = {
    'convnext': 'ConvNeXt',
    'pvt_v2': 'PVTv2',
    'swin_transformer': 'Swin Transformer',
    'swin_transformer_v2': 'Swin Transformer',
}


def find_row(name: str) -> Backbone:
    """The catalogue's row with this name, or one for ``timm:NAME``. The latter loads timm, which takes seconds.

    Raises:
        KeyError: no such network; it lists the nearest ones.
        ValueError: timm has it, but it gives no maps that a detector can use.
    """
    return _timm_row(name[len(TIMM):]) if name.startswith(TIMM) else find_backbone(name)


def _timm_row(model_name: str) -> Backbone:
    from .models import pretrained_tags
    tags = pretrained_tags(model_name)  # says how to get timm where it is not there
    import timm
    if not timm.is_model(model_name):
        near = difflib.get_close_matches(model_name.lower(), timm.list_models(), n=4, cutoff=0.5)
        hint = f'did you mean {", ".join(TIMM + each for each in near)}?' if near else 'timm.list_models() lists them'
        raise KeyError(f'timm {timm.__version__} has no network {model_name!r}; {hint}')
    config = dict(type='mmbackbones.TimmBackbone', model_name=model_name)
    with on_meta():
        backbone = MODELS.build(config)
    published = timm.get_pretrained_cfg(model_name) if tags else None
    side, num_classes = (published.input_size[-1], published.num_classes) if published else (224, 1000)
    counted = count_complexity(backbone, (side, side), num_classes)
    file = timm.model_entrypoint(model_name).__module__.rpartition('.')[2]
    return Backbone(
        name=TIMM + model_name,
        family=FAMILIES.get(file, file),
        config=config,
        channels=backbone.out_channels,
        strides=backbone.out_strides,
        mean=_pixels(published.mean) if published else IMAGENET_MEAN,
        std=_pixels(published.std) if published else IMAGENET_STD,
        params=counted.params,
        macs=counted.macs,
        input_size=side,
        num_classes=num_classes,
        head_params=0,
        head_macs=0,
        paper_params=None,
        paper_macs=None,
        top1=None,
        source=None,
        title=f'Wightman, PyTorch Image Models: timm/models/{file}.py',
        year=2019,
        link='https://github.com/huggingface/pytorch-image-models',
        documents=(),
        implementation='timm',
        note='not in the catalogue: the figures are held against no paper')


def _pixels(values: Sequence[float]) -> Tuple[float, ...]:
    """timm's figures are for pixels from 0 to 1."""
    return tuple(round(255 * value, 3) for value in values)
