"""What the header of an image file says, and what its container tells of damage, without decoding it."""
import io
import os
import re
import stat
import struct
import zlib
from typing import BinaryIO, Iterator, NamedTuple, Optional, Tuple

from PIL import Image

from ..errors import UserError

__all__ = [
    'BadImageError', 'MAX_PIXELS', 'Header', 'JPEG_END', 'JPEG_START', 'SCAN', 'check_container', 'check_regular',
    'jpeg_segments', 'read_header'
]

MAX_PIXELS = 2**30  # OpenCV's own limit
JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'
APP1, SCAN = 0xE1, 0xDA
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
PNG_START = b'\x89PNG\r\n\x1a\n'
PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
# all compress, so their last bytes are no row of zeros unless something filled a hole
ZEROLESS = (b'RIFF', b'\x00\x00\x00\x0cjP  ', b'\xff\x4f\xff\x51')
HOLE = bytes(64)
# in the data of a scan 0xFF stands before a zero or a restart marker
SCANS = re.compile(rb'\xff[\xda\xd9]')


class BadImageError(UserError):
    """An image file that is missing, empty, cut off, damaged or no image."""


class Header(NamedTuple):
    """What the header of an image file says.

    Attributes:
        width: as stored, in pixels.
        height: as stored, in pixels.
        channels: as stored; None where only decoding tells what comes out.
        bits: of a sample.
        orientation: of EXIF, 1 to 8; None where there is none; 0 where only decoding tells whether the image is turned.
    """
    width: int
    height: int
    channels: Optional[int]
    bits: int
    orientation: Optional[int]


def check_regular(path: str) -> None:
    """Refuse what is no file with a beginning and an end: reading a pipe or a device may never return.

    Raises:
        BadImageError: the reason, without the path.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise BadImageError(getattr(error, 'strerror', None) or str(error)) from error
    if not stat.S_ISREG(mode):
        kind = 'a folder' if stat.S_ISDIR(mode) else 'a pipe' if stat.S_ISFIFO(mode) else 'a device or socket'
        raise BadImageError(f'it is {kind}, expected a file')


def _check_size(width: int, height: int) -> None:
    if not width or not height:
        raise BadImageError(f'its header claims {width} x {height} pixels')
    if width * height > MAX_PIXELS:
        raise BadImageError(f'its header claims {width} x {height} pixels, more than the 2^30 that OpenCV decodes')


def _exif_orientation(segment: bytes) -> Optional[int]:
    """The orientation in an EXIF segment as OpenCV takes it; 0 where that is not plain."""
    order = {b'MM': '>', b'II': '<'}.get(segment[6:8])
    if not segment.startswith(b'Exif\x00\x00') or order is None:
        return 0
    try:
        magic, start = struct.unpack_from(f'{order}HI', segment, 8)
        count, = struct.unpack_from(f'{order}H', segment, 6 + start)
        if magic != 42:
            return 0
        for index in range(count):
            tag, kind, _, value = struct.unpack_from(f'{order}HHIH', segment, 8 + start + 12 * index)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 0
    except struct.error:
        return 0
    return None


def jpeg_segments(file: BinaryIO) -> Iterator[Tuple[int, int, int]]:
    """Marker, offset and length of the contents of each segment, up to the first scan and with it."""
    position = 2
    while True:
        file.seek(position)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF:
            raise BadImageError(f'the JPEG is cut off or damaged after {position} bytes, before the picture')
        if head[1] == 0xFF:  # padding
            position += 1
            continue
        length = int.from_bytes(head[2:], 'big')
        yield head[1], position + 4, length - 2
        if head[1] == SCAN:
            return
        position += 2 + length


def _read_jpeg(file: BinaryIO) -> Header:
    frame, orientation = None, None
    for marker, start, length in jpeg_segments(file):
        if marker == APP1 and orientation is None and length > 6:
            file.seek(start)
            orientation = _exif_orientation(file.read(length))
            if orientation is None:  # upright, by the first of these segments; not all versions of OpenCV look at one
                orientation = 1
        if marker in FRAMES and length >= 6:
            file.seek(start)
            frame = struct.unpack('>BHHB', file.read(6))
    if frame is None:
        raise BadImageError('the JPEG has no frame: it is damaged')
    bits, height, width, channels = frame
    return Header(width, height, channels, bits, orientation)


def _read_png(file: BinaryIO) -> Header:
    file.seek(0)
    data = file.read(1 << 12)
    if len(data) < 33 or data[12:16] != b'IHDR':
        raise BadImageError(f'the PNG is cut off after {len(data)} bytes')
    width, height, bits, color = struct.unpack('>IIBB', data[16:26])
    before_pixels = data[:max(data.find(b'IDAT'), 0) or None]
    plain = b'tRNS' not in before_pixels and color in (0, 2, 6)
    orientation = 0 if b'eXIf' in before_pixels else None
    return Header(width, height, PNG_CHANNELS.get(color) if plain else None, bits, orientation)


def read_header(path: str) -> Header:
    """Read the size and the layout of an image file.

    Raises:
        BadImageError: the reason, without the path: missing, no regular file, empty, cut off, no image, or of a size
            that no picture has.
    """
    check_regular(path)
    try:
        with open(path, 'rb') as file:
            start = file.read(8)
            if not start:
                raise BadImageError('the file is empty')
            if start.startswith(JPEG_START):
                header = _read_jpeg(file)
            elif start == PNG_START:
                header = _read_png(file)
            else:
                header = _read_other(file)
    except OSError as error:
        raise BadImageError(error.strerror or str(error)) from error
    _check_size(header.width, header.height)
    return header


def _read_other(file: BinaryIO) -> Header:
    """Read the header of a format that Pillow knows."""
    try:
        file.seek(0)
        with Image.open(file) as image:
            turned = image.getexif().get(0x0112, 1) != 1
            bits = 16 if '16' in image.mode or image.mode in ('I', 'F') else 8
            return Header(*image.size, None, bits, 0 if turned else None)
    except Image.DecompressionBombError as error:
        raise BadImageError(f'its header claims more pixels than a picture has: {error}') from error
    except Exception as error:  # each of its readers raises its own
        raise BadImageError('not an image') from error


def check_container(data: bytes) -> Optional[Header]:
    """Find the damage that the bytes of a whole image file show without decoding.

    Args:
        data: the file.

    Returns:
        Header | None: of a JPEG or PNG; None for other formats.

    Raises:
        BadImageError: the reason: empty, cut off, a broken checksum, or a size that no picture has.
    """
    if not data:
        raise BadImageError('the file is empty')
    if data.startswith(JPEG_START):
        return _check_jpeg(data)
    if data.startswith(PNG_START):
        return _check_png(data)
    if data.startswith(ZEROLESS) and data.endswith(HOLE):
        raise BadImageError('its end is filled with zeros')
    return None


def _check_jpeg(data: bytes) -> Header:
    """Follow the segments: the end marker comes after the scans, and every component is there to its last bit.

    The segments before the picture are stepped over, since an embedded thumbnail has an end marker of its own. Bytes
    after the end are allowed: some cameras and programs append their own.
    """
    file = io.BytesIO(data)
    header = _read_jpeg(file)
    _check_size(header.width, header.height)
    segments = list(jpeg_segments(file))
    _, scan, length = segments[-1]
    if data.rfind(JPEG_END, scan) == -1:
        raise BadImageError(f'the JPEG is cut off after {len(data)} bytes')
    # the usual file has all in one scan: decoding it tells the rest
    if data[scan] != header.channels or data[scan + length - 3:scan + length - 1] != b'\x00\x3f':
        frame = next(start for marker, start, _ in segments if marker in FRAMES)
        _check_scans(data, data[frame + 6:frame + 6 + 3 * header.channels:3], scan - 4)
    return header


def _check_scans(data: bytes, components: bytes, position: int) -> None:
    """Refuse a JPEG in several scans of which some are missing: what is there decodes to a blurred picture.

    Args:
        data: the file.
        components: their numbers.
        position: of the first scan.
    """
    left = {component: set(range(64)) for component in components}  # coefficients that lack bits
    for match in SCANS.finditer(data, position):
        if match[0] == JPEG_END:
            break
        count = data[match.end() + 2]
        described = data[match.end() + 3:match.end() + 6 + 2 * count]
        if len(described) == 3 + 2 * count and not described[-1] & 15:
            for component in described[:2 * count:2]:
                left.get(component, set()).difference_update(range(described[-3], described[-2] + 1))
    if any(left.values()):
        raise BadImageError('the JPEG is cut off between its scans')


def _check_png(data: bytes) -> Header:
    """Follow the chunks to the end, and their checksums."""
    header = _read_png(io.BytesIO(data))
    _check_size(header.width, header.height)
    position = len(PNG_START)
    view = memoryview(data)
    while True:
        if position + 12 > len(data):
            raise BadImageError(f'the PNG is cut off after {len(data)} bytes')
        length = int.from_bytes(data[position:position + 4], 'big')
        kind, end = data[position + 4:position + 8], position + 8 + length
        if end + 4 > len(data):
            raise BadImageError(f'the PNG is cut off after {len(data)} bytes')
        # text and the like, written in small letters, says nothing about the pixels
        if kind[:1].isupper() and zlib.crc32(view[position + 4:end]) != int.from_bytes(data[end:end + 4], 'big'):
            raise BadImageError(f'the PNG is damaged: wrong checksum of the part {kind.decode("latin1")!r} at byte '
                                f'{position}')
        if kind == b'IEND':
            return header
        position = end + 4
