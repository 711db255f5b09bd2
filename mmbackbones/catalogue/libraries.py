"""Any network of timm or torchvision as a row of the catalogue, made when it is asked for: ``timm:NAME``."""
from typing import Sequence, Tuple

from mmengine.registry import MODELS

from ..errors import InputError, UnknownNameError, one_line
from ..messages import listed, near_names
from ..meta import on_meta
from . import IMAGENET_MEAN, IMAGENET_STD, Backbone, find_backbone, load_catalogue
from .complexity import count_complexity

__all__ = ['find_row']

# timm's file of an architecture -> its family in the catalogue, or in the recipes
FAMILIES = {
    'convnext': 'ConvNeXt',
    'pvt_v2': 'PVTv2',
    'swin_transformer': 'Swin Transformer',
    'swin_transformer_v2': 'Swin Transformer',
}


def find_row(name: str) -> Backbone:
    """The catalogue's row with this name, or one for ``timm:NAME`` or ``torchvision:NAME``, which takes seconds.

    Raises:
        UnknownNameError: no such network; it lists the nearest ones, of the catalogue and of the library.
        InputError: the library has it, but it gives no maps that a detector can use.
    """
    library, colon, model_name = name.partition(':')
    if not colon:
        return find_backbone(name)
    if library not in ROWS:
        raise UnknownNameError(
            f'no library {library!r}; there are {" and ".join(f"{each}:NAME" for each in ROWS)}. A network '
            'of MMPretrain or MMDetection can be named in a config: '
            "backbone=dict(type='mmbackbones.OpenMMLabBackbone', backbone=dict(type='mmdet.RegNet', ...))")
    return ROWS[library](model_name)


def _refuse_unknown(library: str, model_name: str, known: Sequence[str]) -> None:
    names = [row.name for row in load_catalogue()]
    near = near_names(model_name, names) + [f'{library}:{each}' for each in near_names(model_name, known)]
    hint = f'did you mean {listed(near)}?' if near else 'its list_models() lists them'
    raise UnknownNameError(f'{library} has no network {model_name!r}; {hint}')


def _timm_row(model_name: str) -> Backbone:
    from ..models import pretrained_tags
    tags = pretrained_tags(model_name)  # says how to get timm where it is not there
    import timm
    network, _, tag = model_name.partition('.')
    if not timm.is_model(network):
        _refuse_unknown('timm', model_name, timm.list_models())
    if tag and model_name not in tags:
        known = [each.partition('.')[2] for each in tags]
        raise UnknownNameError(f'timm has no weights {tag!r} of {network}; it has {listed(known) or "none"}')
    published = timm.get_pretrained_cfg(model_name) if tags else None
    side, num_classes = (published.input_size[-1], published.num_classes) if published else (224, 1000)
    file = timm.model_entrypoint(model_name).__module__.rpartition('.')[2]
    return _make_row(
        f'timm:{model_name}',
        dict(type='mmbackbones.TimmBackbone', model_name=model_name),
        side,
        num_classes,
        family=FAMILIES.get(file, file),
        mean=_pixels(published.mean) if published else IMAGENET_MEAN,
        std=_pixels(published.std) if published else IMAGENET_STD,
        title=f'Wightman, PyTorch Image Models: timm/models/{file}.py',
        year=2019,
        link='https://github.com/huggingface/pytorch-image-models')


def _torchvision_row(model_name: str) -> Backbone:
    from torchvision.models import get_model_builder, list_models
    if model_name not in list_models():
        _refuse_unknown('torchvision', model_name, list_models())
    file = get_model_builder(model_name).__module__.rpartition('.')[2]
    return _make_row(
        f'torchvision:{model_name}',
        dict(type='mmbackbones.TorchvisionBackbone', model_name=model_name),
        224,
        1000,
        family=FAMILIES.get(file, file),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        title=f'TorchVision maintainers and contributors: torchvision/models/{file}.py',
        year=2016,
        link='https://github.com/pytorch/vision')


def _make_row(name: str, config: dict, input_size: int, num_classes: int, **facts) -> Backbone:
    try:
        with on_meta():
            backbone = MODELS.build(config)
        counted = count_complexity(backbone, (input_size, input_size), num_classes)
    except (ValueError, NotImplementedError) as error:  # it gives no maps, or does not run on the meta device
        raise InputError(f'{name}: {one_line(error)}') from error
    return Backbone(
        name=name,
        config=config,
        channels=backbone.out_channels,
        strides=backbone.out_strides,
        params=counted.params,
        macs=counted.macs,
        input_size=input_size,
        num_classes=num_classes,
        head_params=0,
        head_macs=0,
        paper_params=None,
        paper_macs=None,
        top1=None,
        source=None,
        documents=(),
        implementation=name.partition(':')[0],
        note='not in the catalogue: the figures are held against no paper',
        **facts)


def _pixels(values: Sequence[float]) -> Tuple[float, ...]:
    """timm's figures are for pixels from 0 to 1."""
    return tuple(round(255 * value, 3) for value in values)


ROWS = {'timm': _timm_row, 'torchvision': _torchvision_row}
