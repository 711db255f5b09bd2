"""First run: generate images of shapes, train a small ODConv Mask R-CNN on them, evaluate it and draw what it finds."""
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
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


def train(work_dir):
    """Runs tools/train.py, whose last epoch ends with an evaluation.

    Args:
        work_dir (Path): For checkpoints and logs.

    Returns:
        dict[str, Path]: The files with the detections on the held-out images,
        for 'bbox' and 'segm'.
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


def evaluate(truth, detections):
    """COCO AP of detections.

    Args:
        truth (COCO): Annotations.
        detections (dict[str, Path]): Result files for 'bbox' and 'segm'.

    Returns:
        dict[str, tuple[float, float]]: AP and AP50 of each, 0 to 1.
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


def draw_comparison(truth, path, image_folder):
    """Ground truth above, detections below, for the images with the most objects.

    Args:
        truth (COCO): Annotations.
        path (Path): Result file with masks.
        image_folder (Path): Where the images of ``truth`` are.

    Returns:
        np.ndarray: uint8 BGR picture.
    """
    found = {}
    for detection in json.loads(path.read_text()):
        if detection['score'] >= SHOWN_SCORE:
            found.setdefault(detection['image_id'], []).append(detection)
    busiest = sorted(truth.imgs, key=lambda image_id: -len(truth.imgToAnns[image_id]))[:SHOWN]
    columns = []
    for image_id in busiest:
        image = cv2.imread(str(image_folder / truth.imgs[image_id]['file_name']))
        known = [dict(each, image_id=image_id) for each in truth.imgToAnns[image_id]]
        columns.append([_draw(image, objects, truth) for objects in (known, found.get(image_id, []))])
    rows = []
    for title, row in zip(('Ground truth', f'Detections (score {SHOWN_SCORE} and above)'), zip(*columns)):
        gap = np.full((row[0].shape[0], 8, 3), 255, np.uint8)
        line = np.hstack([part for panel in row for part in (gap, panel)] + [gap])
        bar = np.full((44, line.shape[1], 3), 255, np.uint8)
        cv2.putText(bar, title, (10, 31), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (40, 40, 40), 2, cv2.LINE_AA)
        rows += [bar, line]
    return np.vstack([*rows, np.full((8, rows[0].shape[1], 3), 255, np.uint8)])


def _draw(image, objects, coco):
    """An enlarged copy of an image with masks, boxes and labels."""
    picture = cv2.resize(image, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    labels = []
    for each in objects:
        colour = METAINFO['palette'][each['category_id'] - 1][::-1]  # RGB to BGR
        mask = cv2.resize(coco.annToMask(each) * 255, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 127
        picture[mask] = (0.5 * picture[mask] + 0.5 * np.array(colour)).astype(np.uint8)
        outline = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(picture, outline, -1, (255, 255, 255), 1, cv2.LINE_AA)
        x, y, width, height = (round(SCALE * value) for value in each['bbox'])
        cv2.rectangle(picture, (x, y), (x + width, y + height), colour, 2)
        name = METAINFO['classes'][each['category_id'] - 1]
        if 'score' in each:
            name = f'{name} {each["score"]:.2f}'
        elif each['iscrowd']:
            name = f'crowd of {name}s' if name != 'cross' else 'crowd of crosses'
        labels.append((name, x, y, colour))
    for name, x, y, colour in labels:  # last, so that no box covers a label
        (width, height), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1)
        x = min(max(x, 0), picture.shape[1] - width - 8)
        y = max(y, height + 10)
        cv2.rectangle(picture, (x, y - height - 10), (x + width + 8, y), colour, cv2.FILLED)
        cv2.putText(picture, name, (x + 4, y - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


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
    cv2.imwrite(str(picture), draw_comparison(truth, detections['segm'], ROOT / DATA / 'val2017'))

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
