"""Image loading that notices broken files."""
import logging
from typing import Any, Optional

import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import LoadImageFromFile as _LoadImageFromFile
from mmengine.logging import print_log

from ..data.decoding import decode_image
from ..data.images import BadImageError, check_regular
from ..registry import TRANSFORMS

__all__ = ['BadImageError', 'LoadImageFromFile']


@TRANSFORMS.register_module()
class LoadImageFromFile(_LoadImageFromFile):
    """MMCV's ``LoadImageFromFile`` that tells a broken file from a good one.

    A good file gives the same pixels as with MMCV's. ``tools/train.py`` and ``tools/test.py`` put this step in place of
    MMCV's in every pipeline, according to ``--bad-images``.

    Args:
        on_error: what to do about a file that is missing, empty, cut off, damaged or undecodable. ``'error'`` raises;
            ``'skip'`` (training) returns None, upon which the data set draws another image; ``'blank'`` (evaluation)
            puts a black image of the annotated size in its place, so that the objects in it count as missed.
            ``'skip'`` and ``'blank'`` log each file once per process.
        kwargs: as for MMCV's; ``ignore_empty`` is refused, since ``on_error='skip'`` is what it meant.

    Raises:
        BadImageError: with ``on_error='error'``; it names the file.
    """

    def __init__(self, *args: Any, on_error: str = 'error', **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if on_error not in ('error', 'skip', 'blank'):
            raise ValueError(f"on_error is {on_error!r}, expected 'error', 'skip' or 'blank'")
        if self.ignore_empty:
            raise ValueError("ignore_empty=True and on_error exclude each other: write on_error='skip'")
        self.on_error = on_error
        self._logged = set()

    def _read(self, path: str) -> np.ndarray:
        """Returns the pixels, (H, W, C) or (H, W) for ``color_type='grayscale'``."""
        try:
            if '://' not in path and (self.backend_args or dict(backend='local')).get('backend') == 'local':
                check_regular(path)
            return decode_image(
                fileio.get(path, backend_args=self.backend_args), self.color_type, self.imdecode_backend)
        except (BadImageError, OSError) as error:
            raise BadImageError(f'{path}: {getattr(error, "strerror", None) or error}') from error

    def transform(self, results: dict) -> Optional[dict]:
        """Load ``results['img_path']``.

        Returns:
            dict | None: ``results`` with ``img``, ``img_shape`` and ``ori_shape``; None for a broken file with
            ``on_error='skip'``.
        """
        try:
            image = self._read(results['img_path'])
        except BadImageError as error:
            image = self._stand_in(results, error)
            if image is None:
                return None
        if self.to_float32:
            image = image.astype(np.float32)
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _stand_in(self, results: dict, error: BadImageError) -> Optional[np.ndarray]:
        if self.on_error == 'error':
            raise BadImageError(f'cannot read image {error}. Mend or remove the file, or pass --bad-images skip to go '
                                f'on without it.') from error
        size = results.get('height'), results.get('width')
        if self.on_error == 'blank' and None in size:
            raise BadImageError(f'cannot read image {error}. Its annotation has no height and width, so no blank image '
                                f'can stand in: mend or remove the file.') from error
        if results['img_path'] not in self._logged:
            self._logged.add(results['img_path'])
            done = 'another image is drawn' if self.on_error == 'skip' else 'evaluated as a black image: ' \
                'its objects count as missed'
            print_log(f'Bad image {error} ({done})', logger='current', level=logging.WARNING)
        if self.on_error == 'skip':
            return None
        return np.zeros(size if self.color_type == 'grayscale' else (*size, 3), np.uint8)

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, on_error={self.on_error!r})'
