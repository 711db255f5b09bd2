"""Networks of torchvision behind the contract of this project's backbones.

Origin of the networks: pytorch/vision (BSD-3-Clause). Different here, besides the padding that ``_cut.py`` tells of:

- ShuffleNetV2: its max pooling opens the stage at stride 4, which torchvision does not give out as a map; the 1x1
  convolution behind the last stage belongs to it.
- AlexNet: the map at stride 4 is the rectified first convolution, that at stride 32 the last pooling.
- SqueezeNet ends at stride 16: a stage is added.
- GoogLeNet: no auxiliary classifiers. torchvision's weights are for pixels of mean and deviation 127.5, to which
  torchvision itself converts ImageNet's normalisation (``transform_input``); here the images must come so.
"""
import difflib
import os
from typing import List, Optional, Sequence, Union

from ...registry import MODELS
from ...weights import CheckpointError, read_checkpoint
from .cut import CutBackbone

__all__ = ['TorchvisionBackbone', 'torchvision_tags']

# channels of the stages that follow where a network ends before stride 32
ADDED = {'squeezenet1_0': (256, ), 'squeezenet1_1': (256, )}
# without it torchvision warns that it will initialise in another way one day
MODEL_ARGS = {'googlenet': dict(init_weights=True)}


def torchvision_tags(model_name: str) -> List[str]:
    """Names of the weights that torchvision publishes for a network, such as ``['IMAGENET1K_V1']``."""
    from torchvision.models import get_model_weights
    return [weights.name for weights in get_model_weights(model_name)]


@MODELS.register_module()
class TorchvisionBackbone(CutBackbone):
    """A network of torchvision.

    Args:
        model_name: as ``torchvision.models.get_model`` takes it.
        out_indices, frozen_stages, norm_eval, with_cp: see :class:`BaseBackbone`.
        pretrained: a checkpoint file, of torchvision's classifier or any other that fits, or the name of weights that
            torchvision publishes, such as ``'IMAGENET1K_V1'``. These are looked for in torch hub's cache, and then
            downloaded. Short for ``init_cfg=dict(type='Pretrained', checkpoint=pretrained)``. Defaults to None.
        init_cfg: see :class:`BaseBackbone`. Defaults to None: initialised as torchvision does.

    Raises:
        ValueError: torchvision has no such network, it cannot be cut into stages (a transformer, for example), or both
            ``pretrained`` and ``init_cfg`` are given.
    """

    def __init__(self,
                 model_name: str,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 pretrained: Optional[str] = None,
                 init_cfg: Optional[dict] = None):
        from torchvision.models import get_model, list_models
        if model_name not in list_models():
            near = difflib.get_close_matches(model_name, list_models(), n=4, cutoff=0.5)
            hint = f'did you mean {", ".join(near)}?' if near else 'torchvision.models.list_models() lists them'
            raise ValueError(f'TorchvisionBackbone: torchvision has no network {model_name!r}; {hint}')
        super().__init__(
            get_model(model_name, weights=None, **MODEL_ARGS.get(model_name, {})), ADDED.get(model_name, ()),
            out_indices, frozen_stages, norm_eval, with_cp, pretrained, init_cfg)
        self.model_name = model_name

    def read_weights(self, source: str) -> dict:
        """A file, an address, or weights that torchvision publishes by their name.

        Raises:
            CheckpointError: it cannot be read, there is neither such a file nor such a name, or it cannot be fetched.
        """
        source = os.fspath(source)
        tags = torchvision_tags(self.model_name)
        if source not in tags:
            if '://' not in source and not os.path.isfile(source):
                raise CheckpointError(
                    f'checkpoint {source}: no such file (looked from {os.getcwd()}), and torchvision has no weights '
                    f'of {self.model_name} with this name; it has {", ".join(tags)}')
            return read_checkpoint(source)
        from torchvision.models import get_model_weights
        return read_checkpoint(get_model_weights(self.model_name)[source].url)
