"""A checkpoint's folder → why loading would refuse it, in the sentences of loading; its numbers are not read.

Configs are parsed, and the tensors that they ask for are compared with those that the headers describe. The structure
of the files has been checked before (`models.store.safetensors_check`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.checkpoint_format.codec_config import codec_config, speaker_encoder_config
from models.checkpoint_format.config import ModelConfig, generation_config, model_config
from models.checkpoint_format.files import INDEX_FILE, MLX_LAYOUT, file_header, layout_of, read_json, weight_files
from models.checkpoint_format.fit import LoadErrors, Shape, packed_shape, some, stated_quantization
from models.checkpoint_format.tensor_plan import (
    KNOWN_PARTS,
    UNREAD_BY_THE_DECODER,
    UNREAD_BY_THE_ENCODER,
    Plan,
    codebooks_plan,
    codec_plan,
    model_plan,
    speaker_plan,
)
from models.errors import UnsupportedCheckpoint

CODEC = "speech_tokenizer"
CONFIG, GENERATION = "config.json", "generation_config.json"
SPEAKER = "speaker_encoder."
FLOATS = ("F32", "BF16", "F16", "F64")
PACKED = "U32"
REMEMBERED = 64  # folders whose files have not changed since
_NUMBERS = {"I": "int", "U": "uint", "F": "float", "BF": "bfloat"}


@dataclass(frozen=True)
class Unfit:
    """A file that loading refuses, and why."""

    path: str
    message: str
    hint: str = ""


def unfit_parts(folder: Path) -> tuple[Unfit, ...]:
    """Everything for which loading would refuse a folder whose files are whole."""
    stamps = tuple(_stamp(path) for path in sorted([*folder.glob("*.*"), *(folder / CODEC).glob("*.*")]))
    return _judged(folder, stamps)


def _stamp(path: Path) -> tuple[object, ...]:
    status = path.stat()
    return path.name, status.st_ino, status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=REMEMBERED)
def _judged(folder: Path, _stamps: tuple[object, ...]) -> tuple[Unfit, ...]:
    found: list[Unfit] = []

    def look(path: str, judge: Callable[[], Any]) -> Any:
        try:
            return judge()
        except UnsupportedCheckpoint as error:
            found.append(Unfit(path, error.message, error.hint))
            return None

    raw = look(CONFIG, lambda: read_json(folder / CONFIG))
    if raw is None:
        return tuple(found)
    config = look(CONFIG, lambda: model_config(raw, where=str(folder / CONFIG)))
    if (folder / GENERATION).is_file():
        look(GENERATION, lambda: generation_config(read_json(folder / GENERATION), where=str(folder / GENERATION)))
    if config is not None:
        look("model.safetensors", lambda: _check_talker(folder, raw, config))
    look(f"{CODEC}/config.json", lambda: _check_codec(folder / CODEC))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class _Described:
    """The tensors of a folder, as the headers of its weights describe them."""

    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, str]
    is_mlx: bool

    def shapes_of(self, plan: Plan) -> dict[str, Shape]:
        return {name: one.mlx_shape if self.is_mlx else one.shape for name, one in plan.items()}


def _described(folder: Path) -> _Described:
    """Raises UnsupportedCheckpoint for headers that contradict the index or one another."""
    tensors: dict[str, Any] = {}
    layouts: dict[str, str] = {}
    for path, promised in weight_files(folder).items():
        header = file_header(path)
        layouts[path.name] = layout_of(header, path=path)
        if absent := sorted(promised - header.keys()):
            raise UnsupportedCheckpoint(f"{path} lacks {some(absent)}, which {INDEX_FILE} says it holds.")
        tensors |= {name: entry for name, entry in header.items() if name != "__metadata__"}
    if len(set(layouts.values())) > 1:
        raise UnsupportedCheckpoint(f"The files of {folder} state different layouts: {layouts}.")
    return _Described(
        shapes={name: tuple(entry["shape"]) for name, entry in tensors.items()},
        dtypes={name: entry["dtype"] for name, entry in tensors.items()},
        is_mlx=MLX_LAYOUT in layouts.values(),
    )


def _check_talker(folder: Path, raw: Mapping[str, Any], config: ModelConfig) -> None:
    """Raise UnsupportedCheckpoint where talker, code predictor or speaker encoder lack their tensors."""
    described, errors = _described(folder), LoadErrors()
    if any(name.startswith(SPEAKER) for name in described.shapes):
        voice = speaker_encoder_config(raw.get("speaker_encoder_config") or {}, where=str(folder / CONFIG))
        expected = described.shapes_of(speaker_plan(voice))
        _compare(errors, f"the speaker encoder in {folder}", expected, described, prefixes=(SPEAKER,))
    expected, packed = {}, set()
    for name, shape in described.shapes_of(model_plan(config, None)).items():
        path = name.removesuffix(".weight")
        if len(shape) != 2 or f"{path}.scales" not in described.shapes:
            expected[name] = shape
            continue
        quantization = stated_quantization(raw, path, where=str(folder))
        packed.add(name)
        expected |= {f"{path}.{part}": size for part, size in packed_shape((shape[0], shape[1]), quantization).items()}
    own = [name for name in described.shapes if not name.startswith(SPEAKER)]
    _compare(errors, str(folder), expected, described, names=own, packed=packed)
    errors.raise_if_any()


def _check_codec(folder: Path) -> None:
    """Raise UnsupportedCheckpoint where the codec's config cannot be computed, or it lacks its tensors."""
    config = codec_config(read_json(folder / CONFIG), where=str(folder / CONFIG))
    described, errors, what = _described(folder), LoadErrors(), f"the codec in {folder}"
    errors.add(what, unexpected=[name for name in described.shapes if not KNOWN_PARTS.match(name)])
    has_encoder = any(name.startswith("encoder.") for name in described.shapes)
    plan = codec_plan(config, encoder=has_encoder)
    for part, unread in (("decoder.", UNREAD_BY_THE_DECODER), ("encoder.", UNREAD_BY_THE_ENCODER)):
        wanted = {name: one for name, one in plan.items() if name.startswith(part) and not unread.fullmatch(name)}
        if wanted:
            _compare(errors, what, described.shapes_of(wanted), described, prefixes=(part,), unread=unread)
    if has_encoder:
        expected = described.shapes_of(codebooks_plan(config))
        _compare(errors, what, expected, described, names=expected.keys() & described.shapes.keys())
    errors.raise_if_any()


def _compare(
    errors: LoadErrors,
    what: str,
    expected: Mapping[str, Shape],
    described: _Described,
    *,
    names: Iterable[str] | None = None,
    prefixes: tuple[str, ...] = (),
    unread: re.Pattern[str] | None = None,
    packed: Iterable[str] = (),
) -> None:
    """Note every tensor that is missing, unexpected, misshapen, or holds numbers of another kind."""
    if names is None:
        names = [name for name in described.shapes if name.startswith(prefixes)]
    present = {name: described.shapes[name] for name in names if not (unread and unread.fullmatch(name))}
    kinds = {name: described.dtypes[name] for name in present}
    wrong = {
        name: kind
        for name, kind in kinds.items()
        if name in expected and present[name] == expected[name] and not _is_read(kind, is_packed=name in set(packed))
    }
    errors.compare(what, expected, present)
    errors.add(what, misshapen=[f"{name} holds {_numbers(kind)} numbers" for name, kind in wrong.items()])


def _is_read(kind: str, *, is_packed: bool) -> bool:
    return kind == PACKED if is_packed else kind in FLOATS


def _numbers(kind: str) -> str:
    """A dtype of safetensors as we call it: I32 -> int32."""
    letters = kind.rstrip("0123456789")
    return _NUMBERS.get(letters, letters.lower()) + kind[len(letters) :]
