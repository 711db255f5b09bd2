"""Decoding of images that takes damage for what it is.

OpenCV and Pillow paint over what libjpeg warns of: half a JPEG comes out with a grey half. simplejpeg, which wraps the
same library, raises; its pixels are those of OpenCV, and come a little sooner.
"""
import io
from typing import Optional

import cv2
import mmcv
import numpy as np

from .images import JPEG_END, JPEG_START, SCAN, BadImageError, Header, check_container, jpeg_segments

try:
    import simplejpeg
except ImportError as error:
    raise ImportError('mmbackbones needs simplejpeg, which notices damaged JPEG files: pip install '
                      '"simplejpeg>=1.9,<2"') from error

__all__ = ['decode_image', 'turns_by_exif']

# flag of MMCV -> colour space of simplejpeg; 'unchanged' keeps what the file has
COLORS = dict(
    color='BGR', color_ignore_orientation='BGR', grayscale='GRAY', grayscale_ignore_orientation='GRAY', unchanged=None)
# what a decoder may not be able to do, which says nothing about the file
NOT_ITS_FAULT = 'Unsupported JPEG process', 'Unsupported color conversion', 'Unsupported JPEG data precision'
# warnings about what stands before the picture; they hide those that follow
METADATA = 'JFIF revision', 'Adobe color transform', 'ICC', 'Invalid SOS parameters'
EXTRA = 'extraneous bytes before marker 0xd9'
PADDING = 64  # zero bytes after the picture that some cameras write
SMALL = dict(min_width=1, min_height=1)  # an eighth of the size: all is read, little is computed


def turns_by_exif(flag: str, backend: str) -> bool:
    """Whether MMCV turns an image by its EXIF orientation; TIFF is turned by OpenCV always."""
    return flag in ('color', 'grayscale') and backend in ('cv2', 'pillow')


def decode_image(data: bytes, flag: str = 'color', backend: str = 'cv2') -> np.ndarray:
    """Decode an image file to the pixels that MMCV gives for it.

    Args:
        data: the file.
        flag: MMCV's ``color_type``.
        backend: MMCV's ``imdecode_backend``.

    Returns:
        np.ndarray: (H, W, C), or (H, W) for grey ones.

    Raises:
        BadImageError: the reason, in one line.
    """
    header = check_container(data)
    is_jpeg = data.startswith(JPEG_START)
    if is_jpeg and backend == 'cv2' and flag in COLORS and header.orientation != 0 and header.channels in (1, 3):
        color = COLORS[flag] or ('GRAY' if header.channels == 1 else 'BGR')
        pixels = _decode_jpeg(data, color)
        if pixels is not None:
            pixels = pixels[..., 0] if color == 'GRAY' else pixels
            return _turn(pixels, header.orientation) if turns_by_exif(flag, backend) else pixels
    elif is_jpeg:
        _verify_jpeg(data, header)
    try:
        pixels = mmcv.imfrombytes(data, flag=flag, backend=backend)
    except Exception as error:  # each backend raises its own
        text = ' '.join(str(error).split())
        if 'CV_IO_MAX_IMAGE' in text:
            text = 'its header claims more pixels than OpenCV decodes'
        raise BadImageError(text[:200]) from error
    if pixels is None:
        raise BadImageError(f'damaged, or not an image that {backend} can decode')
    return pixels


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image upright, as OpenCV does.

    Args:
        pixels: (H, W, C) or (H, W).
        orientation: of EXIF, 1 to 8, or None.
    """
    if orientation in (5, 6, 7, 8):
        pixels = cv2.transpose(pixels)
    axis = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return pixels if axis is None else cv2.flip(pixels, axis)


def _decode_jpeg(data: bytes, color: str, **options) -> Optional[np.ndarray]:
    """Decode strictly.

    Returns:
        np.ndarray | None: (H, W, C); None where another decoder must do it, and this one has nothing against the file.

    Raises:
        BadImageError: it is damaged.
    """
    try:
        return simplejpeg.decode_jpeg(data, color, strict=True, **options)
    except ValueError as error:
        text = str(error)
    if any(part in text for part in NOT_ITS_FAULT):
        return None
    extra = int(text.split(EXTRA)[0].split()[-1]) if EXTRA in text else 0
    if 0 < extra <= PADDING and data[:data.rfind(JPEG_END)].endswith(bytes(extra)):
        return None
    if any(part in text for part in METADATA):
        bare = _without_metadata(data)
        if bare != data:
            _decode_jpeg(bare, color, **SMALL)
            return None
    raise BadImageError(f'the JPEG is damaged ({text})')


def _verify_jpeg(data: bytes, header: Header) -> None:
    """Raise what decoding raises, at a part of its cost."""
    _decode_jpeg(data, 'CMYK' if header.channels == 4 else 'BGR', **SMALL)


def _without_metadata(data: bytes) -> bytes:
    """A JPEG without the segments that do not describe its pixels, and with the plain parameters of its first scan."""
    kept, baseline = [data[:2]], False
    for marker, start, length in jpeg_segments(io.BytesIO(data)):
        baseline |= marker in (0xC0, 0xC1)
        if marker == SCAN:
            kept.append(data[start - 4:start + length - 3] + b'\x00\x3f\x00' if baseline else data[start - 4:start +
                                                                                                   length])
            kept.append(data[start + length:])
        elif not 0xE0 <= marker <= 0xEF:
            kept.append(data[start - 4:start + length])
    return b''.join(kept)
