"""Whether the image files of a data set are there, and are what its annotations say, as its pipeline loads them."""
import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from PIL import Image

from .decoding import decode_image, turns_by_exif
from .findings import Findings
from .images import MAX_PIXELS, BadImageError, Header, check_regular, read_header

__all__ = ['Loading', 'Picture', 'check_pictures']

CHUNK = 64  # files that a thread takes at a time
THREADS = 8  # reading headers waits for the disk
PROGRESS = 10.0  # seconds between two lines
TURNED = (5, 6, 7, 8)  # orientations that exchange height and width


class Loading(NamedTuple):
    """How a pipeline loads images.

    Attributes:
        color_type: MMCV's flag; None for a step that is not known here.
        backend: MMCV's decoder.
        lenient: whether the run passes over bad files.
        channels: that the model takes; None where it does not say.
    """
    color_type: Optional[str] = 'color'
    backend: str = 'cv2'
    lenient: bool = False
    channels: Optional[int] = None


class Picture(NamedTuple):
    """An image that annotations name.

    Attributes:
        path: of the file.
        width: as annotated; None where they do not say.
        height: as annotated.
    """
    path: str
    width: Optional[int]
    height: Optional[int]


# of a finding: the tally that it belongs to, its kind, details for the example
Finding = Tuple[str, str, str]


def _decoded(path: str, loading: Loading) -> Tuple[int, int, int]:
    """Width, height and channels of the loaded image."""
    with open(path, 'rb') as file:
        pixels = decode_image(file.read(), loading.color_type, loading.backend)
    return pixels.shape[1], pixels.shape[0], pixels.shape[2] if pixels.ndim == 3 else 1


def _look_at(picture: Picture, loading: Loading) -> List[Finding]:
    if loading.color_type is None:
        check_regular(picture.path)
        return []
    header = read_header(picture.path)
    turns = turns_by_exif(loading.color_type, loading.backend)
    turned, annotated = header.orientation in TURNED, (picture.width, picture.height)
    width, height, channels = header.width, header.height, header.channels
    if loading.color_type == 'unchanged' and channels not in (1, 3, 4) or header.orientation == 0 \
            or header.orientation not in (None, 1) and loading.backend != 'cv2':
        width, height, channels = _decoded(picture.path, loading)
        turns = turned = turns and (width, height) != (header.width, header.height)
    elif turned and turns:
        width, height = height, width
    return [
        *_compare_size(annotated, (width, height), header, turned, loading),
        *_compare_layout(header, channels, loading)
    ]


def _compare_size(annotated: Tuple[Optional[int], ...], loaded: Tuple[int, int], header: Header, turned: bool,
                  loading: Loading) -> List[Finding]:
    """Compare the annotated size with that of the loaded image."""
    said = f'annotated {annotated[0]} x {annotated[1]}, loaded {loaded[0]} x {loaded[1]}'
    if annotated == loaded or annotated[0] is None:
        if header.orientation not in (None, 0, 1) and (not turned or loaded[0] == loaded[1] or annotated[0] is None):
            return [('warnings', 'images whose EXIF orientation does not show in their size (make sure that the boxes '
                     f'are meant for the image as color_type={loading.color_type!r} loads it)', '')]
        return []
    if turned and annotated == loaded[::-1]:
        if annotated == (header.width, header.height):
            return [('errors', f'images that color_type={loading.color_type!r} turns by their EXIF orientation, while '
                     'they are annotated as stored, so that the boxes would lie elsewhere (set '
                     "color_type='color_ignore_orientation' in LoadImageFromFile, or save them upright)", said)]
        return [('errors', f'images annotated as their EXIF orientation turns them, which color_type='
                 f"{loading.color_type!r} does not do (set color_type='color' in LoadImageFromFile)", said)]
    return [('errors', 'images of another size than annotated', said)]


def _compare_layout(header: Header, channels: Optional[int], loading: Loading) -> List[Finding]:
    """Compare what is in the file with what the pipeline and the model take."""
    found = []
    kept = loading.color_type == 'unchanged' or loading.backend == 'tifffile'
    if header.bits > 8:
        done = 'are kept (are mean and std of the data_preprocessor meant for them?)' if kept else \
            'are cut off at 255' if loading.backend == 'pillow' else 'lose their lower 8'
        found.append(('warnings', f'images of 16 bits, which {done} when loaded', ''))
    if loading.color_type == 'unchanged' and loading.channels and channels not in (None, loading.channels):
        found.append(('errors', f"images that have not the {loading.channels} channels of the data_preprocessor, and "
                      "that color_type='unchanged' loads as they are (set color_type='color')", f'{channels} channels'))
    return found


@contextlib.contextmanager
def _large_images() -> Iterator[None]:
    """Let Pillow read the headers of images as large as OpenCV decodes."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def check_pictures(pictures: Sequence[Picture], loading: Loading, findings: Findings, title: str) -> None:
    """Look at the header of every image file.

    Args:
        pictures: the images.
        loading: how the pipeline loads them.
        findings: is added to.
        title: what is checked, for the lines of progress.
    """
    findings.folders = sorted({*findings.folders, *(os.path.dirname(picture.path) for picture in pictures)})

    def look_at(chunk: Sequence[Picture]) -> List[Tuple[Picture, List[Finding]]]:
        results = []
        for picture in chunk:
            try:
                found = _look_at(picture, loading)
            except BadImageError as error:
                found = [('warnings' if loading.lenient else 'errors', 'images that cannot be read', str(error))]
            except (OSError, MemoryError) as error:
                found = [('errors', 'images that cannot be read', str(error))]
            if found:
                results.append((picture, found))
        return results

    start = said = time.monotonic()
    chunks = [pictures[first:first + CHUNK] for first in range(0, len(pictures), CHUNK)]
    bad = 0
    with _large_images(), ThreadPoolExecutor(THREADS) as pool:
        for done, results in enumerate(pool.map(look_at, chunks), 1):
            for picture, found in results:
                for tally, kind, detail in found:
                    bad += kind == 'images that cannot be read'
                    getattr(findings, tally).add(kind, f'{picture.path}: {detail}' if detail else picture.path)
            now = time.monotonic()
            if now - said > PROGRESS:
                said = now
                print(
                    f'Checking {title}: {min(done * CHUNK, len(pictures))} of {len(pictures)} images, '
                    f'{(now - start) / done * (len(chunks) - done):.0f} s to go',
                    flush=True)
    if bad == len(pictures) and pictures:
        findings.errors.say(
            f'none of the images can be read: the image folder ({os.path.dirname(pictures[0].path)}) and '
            f'the annotations do not belong together, or the download is not complete')
