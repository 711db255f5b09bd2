"""First run: generate images of shapes, train a small ODConv Mask R-CNN on them, evaluate it and draw what it finds."""
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Tuple

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmbackbones.boundary import Parser, command
from mmbackbones.datasets import METAINFO, make_shapes
from mmbackbones.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
CONFIG = Path('configs', 'detection', 'mask_rcnn_odconv_r18_shapes.py')
DATA = Path('data', 'shapes')
NUM_TRAIN, NUM_VAL, SEED = 384, 80, 0
# A trained model is well above it; below, something is broken.
EXPECTED_AP = 0.6

SCALE = 3  # of the pictures
SHOWN = 4
SHOWN_SCORE = 0.5


def train(work_dir: Path) -> Dict[str, Path]:
    """Run tools/train.py, whose last epoch ends with an evaluation.

    Args:
        work_dir: for checkpoints and logs.

    Returns:
        dict: the files with the detections on the held-out images, for ``'bbox'`` and ``'segm'``.
    """
    prefix = work_dir / 'detections'
    command = [
        sys.executable, 'tools/train.py',
        str(CONFIG), '--work-dir',
        str(work_dir), '--data-root',
        str(DATA), '--backbone-weights', 'none', '--seed',
        str(SEED), '--cfg-options', f'val_evaluator.outfile_prefix={prefix}'
    ]
    # A thread that spins while it waits takes the core from the one it waits for, where other programs run as well.
    environment = dict({'OMP_WAIT_POLICY': 'PASSIVE'}, **os.environ)
    training = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        status = training.wait()
    except KeyboardInterrupt:
        training.terminate()  # Ctrl-C reaches it too, SIGTERM does not
        training.wait()
        raise
    if status:
        raise InputError(f'the training stopped with exit status {status}; its last lines, above, say why')
    return {metric: Path(f'{prefix}.{metric}.json') for metric in ('bbox', 'segm')}


def evaluate(truth: COCO, detections: Dict[str, Path]) -> Dict[str, Tuple[float, float]]:
    """COCO AP of detections.

    Args:
        truth: annotations.
        detections: result files for ``'bbox'`` and ``'segm'``.

    Returns:
        dict: AP and AP50 of each, from 0 to 1.
    """
    scores = {}
    for metric, path in detections.items():
        found = json.loads(path.read_text())
        if not found:  # pycocotools cannot read an empty list
            scores[metric] = (0., 0.)
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(truth, truth.loadRes(found), metric)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        scores[metric] = tuple(evaluation.stats[:2])
    return scores


def draw_comparison(truth: COCO, path: Path, image_folder: Path) -> np.ndarray:
    """Ground truth at the left, detections at the right, for the images with the most objects.

    Args:
        truth: annotations.
        path: result file with masks.
        image_folder: where the images of ``truth`` are.

    Returns:
        np.ndarray: uint8 RGB picture.
    """
    # MMDetection takes seconds to import, and by then the training has found what may be wrong with it
    from mmdet.structures import DetDataSample
    from mmdet.visualization import DetLocalVisualizer
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = METAINFO
    found = {}
    for detection in json.loads(path.read_text()):
        found.setdefault(detection['image_id'], []).append(detection)
    busiest = sorted(truth.imgs, key=lambda image_id: -len(truth.imgToAnns[image_id]))[:SHOWN]
    pairs = []
    for image_id in busiest:
        image = cv2.imread(str(image_folder / truth.imgs[image_id]['file_name']))[..., ::-1]
        image = cv2.resize(image, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
        sample = DetDataSample(
            gt_instances=_instances(truth.imgToAnns[image_id], truth, image_id, image.shape[:2]),
            pred_instances=_instances(found.get(image_id, []), truth, image_id, image.shape[:2]))
        visualizer.add_datasample('demo', image, sample, pred_score_thr=SHOWN_SCORE)
        pairs.append(visualizer.get_image())
    bar = np.full((30, pairs[0].shape[1], 3), 255, np.uint8)
    for title, left in (('Ground truth', 8), (f'Detections of {SHOWN_SCORE} and above', bar.shape[1] // 2 + 8)):
        cv2.putText(bar, title, (left, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (40, 40, 40), 1, cv2.LINE_AA)
    columns = [np.vstack([bar, *pairs[column::2]]) for column in range(2)]
    return np.hstack([columns[0], np.full((len(columns[0]), 12, 3), 255, np.uint8), columns[1]])


def _instances(objects: list, truth: COCO, image_id: int, size: tuple) -> InstanceData:
    """Objects in COCO's format as MMDetection draws them, on an image that is :data:`SCALE` times as large.

    Args:
        objects: annotations or detections.
        truth: the data set.
        image_id: of the image.
        size: (H, W) of the enlarged image.
    """
    masks = [truth.annToMask(dict(each, image_id=image_id)) for each in objects]
    boxes = SCALE * np.array([each['bbox'] for each in objects], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    fields = dict(
        bboxes=torch.from_numpy(boxes),
        labels=torch.tensor([each['category_id'] - 1 for each in objects], dtype=torch.long),
        masks=np.array([cv2.resize(mask, size[::-1]) > 0 for mask in masks], bool).reshape(-1, *size))
    if objects and 'score' in objects[0]:
        fields['scores'] = torch.tensor([each['score'] for each in objects])
    return InstanceData(**fields)


@command
def main(argv, situation):
    """The whole demo."""
    parser = Parser(description=__doc__, epilog='Example: python tools/demo.py')
    parser.add_argument('--work-dir', default=ROOT / 'work_dirs' / 'demo', type=Path, help='default: work_dirs/demo')
    work_dir = parser.parse_args(argv).work_dir.resolve()
    start = time.time()

    print(f'[1/3] Writing {NUM_TRAIN} training and {NUM_VAL} held-out images to {DATA}', flush=True)
    if not make_shapes(ROOT / DATA, NUM_TRAIN, NUM_VAL, seed=SEED):
        print('      They are there already.', flush=True)
    print('[2/3] Training, with an evaluation at the end', flush=True)
    detections = train(work_dir)

    print('[3/3] Evaluating and drawing', flush=True)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(ROOT / DATA / 'annotations' / 'instances_val2017.json')
    scores = evaluate(truth, detections)
    picture = work_dir / 'detections.png'
    cv2.imwrite(str(picture), draw_comparison(truth, detections['segm'], ROOT / DATA / 'val2017')[..., ::-1])

    print('\n          AP    AP50')
    for metric, name in (('bbox', 'boxes'), ('segm', 'masks')):
        print('{:6}  {:.3f}   {:.3f}'.format(name, *scores[metric]))
    minutes, seconds = divmod(round(time.time() - start), 60)
    print(f'\nTime:    {minutes} min {seconds} s\nPicture: {os.path.relpath(picture)}', flush=True)
    if min(ap for ap, _ in scores.values()) < EXPECTED_AP:
        raise InputError(
            f'an AP is below {EXPECTED_AP}, which this run should reach on every machine. Something in the '
            f'installation or the code is broken; the log of the training is in {os.path.relpath(work_dir)}')


if __name__ == '__main__':
    main()
