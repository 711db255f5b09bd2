"""A backbone in a classifier."""
from ..config.edit import Plan, SwapError
from ..config.fit import Fit
from ..config.tree import first_neck, get, nodes
from .network import Network

__all__ = ['swap_classifier']


def swap_classifier(plan: Plan, fit: Fit, network: Network) -> None:
    """Backbone of a classifier, and a neck and a head that take its last map."""
    model, maps = plan.model, fit.maps
    stride = max(network.stage_of)
    new = network.channels_of[stride]
    plan.set_model(('backbone', ),
                   network.config([stride]),
                   f'{network.row.name}; the last map is classified',
                   replace=True)
    neck, _ = first_neck(model)
    fuses = bool(neck) and isinstance(neck.get('in_channels'), (list, tuple)) and len(neck.in_channels) > 1
    if maps is not None and maps.strides[-1] > 0 and not fuses:
        for part in ('neck', 'head'):
            for path, node in nodes(model.get(part) or {}):
                if path[-1:] == ('in_channels', ) and node == maps.channels[-1] != new:
                    plan.set_model((part, *path), new, 'channels of the last map')
        return
    why = 'one map is classified, not several' if fuses else 'the mean of a map is classified, not a vector or a token'
    plan.set_model(('neck', ), dict(type='GlobalAveragePooling'), why, replace=True)
    if model.head.type == 'LinearClsHead':
        if model.head.get('in_channels') != new:
            plan.set_model(('head', 'in_channels'), new, 'channels of the last map')
        return
    num_classes = model.head.get('num_classes') or get(plan.cfg._cfg_dict, ('data_preprocessor', 'num_classes'))
    if not num_classes:
        raise SwapError(
            f'{plan.key("head")} ({model.head.type}) names no num_classes, so no linear classifier can take '
            f'its place behind {network.row.name}: give data_preprocessor.num_classes')
    kept = {key: model.head[key] for key in ('loss', 'topk') if key in model.head}
    plan.set_model(('head', ),
                   dict(type='LinearClsHead', num_classes=num_classes, in_channels=new, **kept),
                   why,
                   replace=True)
