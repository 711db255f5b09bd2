"""How the authors of each family train detectors: the data behind ``mmbackbones swap --recipe``.

A family that is not here is convolutional and trains with whatever optimizer the detector's config has: that is how
MMDetection and the families' authors train ResNet's relatives. The configs under ``configs/detection`` follow the same
table; ``tests/test_swap.py`` compares them.
"""
from typing import Dict, NamedTuple, Optional, Tuple

__all__ = ['CLASSIFIERS', 'Recipe', 'find_recipe']


class Recipe(NamedTuple):
    """One way to train, with AdamW.

    Attributes:
        source: where it is published; of a family without a recipe of its own, whose it is.
        lr: learning rate for ``batch``; for other batches it goes with the root of their size.
        two_stage_lr: in place of ``lr`` for detectors with a second stage; None where it is the same.
        batch: images that the learning rate is for.
        weight_decay: of all but norms and ``undecayed``, where that names anything.
        undecayed: tables of positions, which have no weight decay, and then norms have none either.
        warmup: iterations, at least; 0 for those of the config.
        drop_path_rate: by the backbone's ``arch``; where it is not named the backbone's default holds.
        layer_decay_rate: by the backbone's ``arch``; where it is not named all layers have one learning rate.
        pretrained: what ``--backbone-weights FILE`` sets besides the weights.
    """
    source: str
    lr: float = 1e-4
    two_stage_lr: Optional[float] = None
    batch: int = 16
    weight_decay: float = 0.05
    undecayed: Tuple[str, ...] = ('relative_position_bias_table', 'relative_bias', 'pos_embed', 'positions')
    warmup: int = 1000
    drop_path_rate: Dict[str, float] = {}
    layer_decay_rate: Dict[str, float] = {}
    pretrained: Dict[str, bool] = {}


# two images a GPU are too few for batch statistics
_KEPT_STATISTICS = dict(norm_eval=True)

# SwinTransformer/Swin-Transformer-Object-Detection, configs/swin; drop path of B and L is its Cascade Mask R-CNN's, and
# their layer decay a choice of this project
_SWIN = Recipe(
    "Swin's detectors (Swin-Transformer-Object-Detection)",
    drop_path_rate=dict(tiny=0.1, small=0.2, base=0.3, large=0.3),
    layer_decay_rate=dict(base=0.9, large=0.9))
_SWIN_LONG = _SWIN._replace(drop_path_rate={**_SWIN.drop_path_rate, 'tiny': 0.2})

# whai362/PVT, detection/configs: 1e-4 in RetinaNet, 2e-4 in Mask R-CNN, for 12 epochs; its longer ones are Swin's
_PVT = Recipe(
    "PVT's detectors (whai362/PVT)",
    two_stage_lr=2e-4,
    weight_decay=1e-4,
    undecayed=(),
    warmup=0,
    drop_path_rate=dict(medium=0., large=0.))
_PVT_LONG = Recipe("PVT's detectors of many epochs (whai362/PVT)")

# facebookresearch/detectron2, projects/ViTDet: its appendix A.2 and configs, for B, L and H
_VIT = Recipe(
    "ViTDet's detectors (detectron2, projects/ViTDet)",
    batch=64,
    weight_decay=0.1,
    undecayed=('pos_embed', ),
    warmup=0,
    drop_path_rate=dict(base=0.1, large=0.4, huge=0.5),
    layer_decay_rate=dict(base=0.7, large=0.8, huge=0.9))

# facebookresearch/ConvNeXt, object_detection; its decay goes by groups of three blocks (0.95 for T, 0.8 for B, 0.7 for
# S and L), and the rates here, by blocks, give the stem the same share of the learning rate. S and B trained with twice
# this rate
_CONVNEXT = Recipe(
    "ConvNeXt's detectors (facebookresearch/ConvNeXt)",
    undecayed=('gamma', ),
    drop_path_rate=dict(tiny=0.4, small=0.6, base=0.7, large=0.7),
    layer_decay_rate=dict(tiny=0.98, small=0.88, base=0.925, large=0.88))

_LIKE_SWIN = "Swin's detectors, as its authors have released none"

# family -> recipe for 12 epochs, and for more
RECIPES: Dict[str, Tuple[Recipe, Recipe]] = {
    'Swin Transformer': (_SWIN, _SWIN_LONG),
    'PVT': (_PVT, _PVT_LONG),
    'PVTv2': (_PVT._replace(drop_path_rate={}), _PVT_LONG),
    'ViT': (_VIT, _VIT),
    'DeiT': (_VIT, _VIT),
    'ConvNeXt': (_CONVNEXT, _CONVNEXT),
    'ConvNeXtV2': (_CONVNEXT._replace(
        source="ConvNeXt's detectors, as the authors of V2 have released none", undecayed=('gamma', 'grn')), ) * 2,
    'DSNet': (Recipe(_LIKE_SWIN, pretrained=_KEPT_STATISTICS), ) * 2,
    'Conv2Former':
    (Recipe(_LIKE_SWIN, drop_path_rate=dict(nano=0.1, tiny=0.2, small=0.3, base=0.3), pretrained=_KEPT_STATISTICS), ) *
    2,
    'CoAtNet': (Recipe(_LIKE_SWIN, drop_path_rate={
        '0': 0.2,
        '1': 0.3,
        '2': 0.5
    }, pretrained=_KEPT_STATISTICS), ) * 2,
}

# the same for classifiers of all these families: DeiT's (Touvron et al., ICML 2021, table 9), 1e-3 for batch 1024
CLASSIFIERS = Recipe('classifiers since DeiT', lr=1e-3, batch=1024)


def find_recipe(family: str, epochs: Optional[int]) -> Optional[Recipe]:
    """The recipe of a family for a detector that trains so long; None where the family has none of its own.

    Args:
        family: as in the catalogue.
        epochs: of the schedule; None where it counts iterations.
    """
    short, long = RECIPES.get(family, (None, None))
    return short if epochs is None or epochs <= 12 else long
