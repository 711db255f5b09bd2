"""Training steps of one detector beside another's, on images of noise: forward, losses, backward."""
import contextlib
import datetime
import sys
from pathlib import Path
from typing import Callable, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from mmengine.structures import InstanceData

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from mmbackbones.bench import alternate, summarise  # noqa: E402

__all__ = ['compare_detectors']

BATCH = 2
NUM_BOXES = 8  # in each image, about as many as COCO has


def _batch(size: Tuple[int, int], seed: int) -> dict:
    """Images of noise with boxes of all sizes, as a data loader gives them."""
    from mmdet.structures import DetDataSample
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    scale = torch.tensor([width, height])
    samples = []
    for _ in range(BATCH):
        centres = torch.rand(NUM_BOXES, 2, generator=generator) * 0.6 + 0.2
        sides = torch.rand(NUM_BOXES, 2, generator=generator) * 0.35 + 0.02
        boxes = torch.cat([(centres - sides / 2) * scale, (centres + sides / 2) * scale], 1)
        labels = torch.randint(0, 80, (NUM_BOXES, ), generator=generator)
        sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1., 1.)))
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
        samples.append(sample)
    images = [(torch.rand(3, *size, generator=generator) * 255).byte() for _ in range(BATCH)]
    return dict(inputs=images, data_samples=samples)


def _in_float32(outputs):
    """Tensors in nested tuples and lists."""
    return outputs.float() if isinstance(outputs, torch.Tensor) else type(outputs)(map(_in_float32, outputs))


class _DetectorStep:
    """A detector, ready to train: a call takes a step without an optimizer's."""

    def __init__(self, config: str, batches: list, dtype: str, device: str):
        cfg = Config.fromfile(ROOT / 'configs' / 'detection' / f'{config}.py')
        cfg.model.backbone.init_cfg = None
        # all trains, batch norms too: the same work on both sides, from random weights
        cfg.model.backbone.update(frozen_stages=-1, norm_eval=False)
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        torch.manual_seed(0)
        self.model = MODELS.build(cfg.model).to(device).train()
        self.batches = [self.model.data_preprocessor(batch, True) for batch in batches]
        self.autocast = None if dtype == 'float32' else (device, getattr(torch, dtype))
        if self.autocast:  # mmcv's RoIAlign and NMS have no bfloat16, in which coordinates would be coarse, too
            for part in (self.model.neck, self.model.rpn_head, self.model.roi_head.bbox_head):
                part.register_forward_hook(lambda module, inputs, outputs: _in_float32(outputs))

    def __call__(self, index: int) -> None:
        self.model.zero_grad(set_to_none=True)
        with torch.autocast(*self.autocast) if self.autocast else contextlib.nullcontext():
            losses = self.model(**self.batches[index % len(self.batches)], mode='loss')
            loss, _ = self.model.parse_losses(losses)
        loss.backward()


def compare_detectors(config: str, against: str, size: Tuple[int, int], dtype: str, device: str, pairs: int,
                      report: Callable[[str], None]) -> dict:
    """Time training steps of two detectors in turns.

    Args:
        config, against: names of files in ``configs/detection``, without their ending.
        size: height and width of the images, two a batch.
        dtype: ``'float32'``, or what autocast computes in.
        device: ``'cpu'`` or ``'cuda'``.
        pairs: how often each is measured.
        report: is told how far it is.

    Returns:
        dict: as of :func:`mmbackbones.bench.compare`.
    """
    tuned, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        with DefaultScope.overwrite_default_scope('mmdet'):
            batches = [_batch(size, seed) for seed in range(4)]
            sides = [_DetectorStep(name, batches, dtype, device) for name in (config, against)]
            summary = summarise(*alternate(*sides, pairs, device, report))
    finally:
        torch.backends.cudnn.benchmark = tuned
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
    return dict(title=against, shape=[BATCH, 3, *size], dtype=dtype, pairs=pairs, unit='s', date=date, **summary)
