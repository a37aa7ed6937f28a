"""A checkpoint folder → a loaded model: everything is checked before any weight is read, then read by several threads.

This module reads files.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx

from models.checkpoint_format.config import ModelConfig, TalkerConfig, generation_config, model_config
from models.checkpoint_format.files import read_json, weight_files
from models.checkpoint_format.finite import NOT_FINITE_HINT, numbers_problem
from models.checkpoint_format.fit import LoadErrors
from models.errors import UnsupportedCheckpoint
from models.hardware.compute import CPU, QUANTIZED_DTYPES, Choices, choose, mlx_device
from models.qwen3_tts.checkpoint.checkpoint import Checkpoint, read_checkpoint
from models.qwen3_tts.checkpoint.quantized import quantized_checkpoint
from models.qwen3_tts.codec.codec import Codec, open_codec
from models.qwen3_tts.codec.ops import Ops, ops_named
from models.qwen3_tts.codec.ops_numpy import NumpyOps
from models.qwen3_tts.codec.speaker_encoder import SPEAKER_ENCODER_PREFIX, SpeakerEncoder, open_speaker_encoder
from models.qwen3_tts.network import mlx_ops
from models.qwen3_tts.network.backend import MlxNetwork, Network
from models.qwen3_tts.network.code_predictor import CodePredictor
from models.qwen3_tts.network.reader import Reader
from models.qwen3_tts.network.talker import Talker
from models.qwen3_tts.network.weights import load_networks, materialize
from models.qwen3_tts.network_cpu.network import NumpyNetwork, can_compute
from models.qwen3_tts.prompt.tokenizer import TextTokenizer
from models.qwen3_tts.speech_model import SpeechModel
from models.qwen3_tts.worker_threads import Workers
from models.store.availability import Available, NotAvailable, Partial, availability
from registry.errors import InvalidInput

BACKENDS = ("numpy", "llvm", "mlx")
DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
READERS = 2  # threads that read weights: more do not make memory faster


def load_speech_model(
    folder: Path | str,
    dtype: str | None = None,
    *,
    dequantize: bool | None = None,
    backend: str | None = None,
    codec_backend: str | None = None,
    ops: mlx_ops.Ops | None = None,
) -> SpeechModel:
    """The model of a checkpoint, computed as the engine would on this machine where an argument is None.

    `dtype` is what the network computes in; "int8" and "int4" quantise the linears of a plain checkpoint meanwhile,
    with the numbers of a quantised copy. `dequantize` unpacks quantised linears.
    `backend` is "numpy", "llvm" (NumPy, and weights that are stored in bfloat16 or quantised stay so) or "mlx".
    `codec_backend` is that of the codec and the speaker encoder; None is NumPy on a CPU and MLX on a GPU.
    Raises UnsupportedCheckpoint naming every tensor that does not fit.
    """
    folder = Path(folder)
    _refuse_unusable(folder)
    checkpoint = read_checkpoint(folder)
    config = model_config(checkpoint.config, where=str(folder / "config.json"))
    generation_file = folder / "generation_config.json"
    generation = generation_config(read_json(generation_file) if generation_file.is_file() else {})
    choices = choices_for(dtype=dtype, backend=backend)
    if choices.bits:
        checkpoint = quantized_checkpoint(checkpoint, bits=choices.bits)
    reader = Reader(
        checkpoint,
        compute_dtype(checkpoint, choices.dtype),
        dequantize=choices.dequantize if dequantize is None else dequantize,
        keep_stored=choices.backend == "llvm",
    )
    # Reading weights waits for disk and memory: Python has time for the rest meanwhile.
    with ThreadPoolExecutor(3, thread_name_prefix="load") as meanwhile:
        tokenizer = meanwhile.submit(TextTokenizer, folder, config)
        talker, predictor, codec, voice = _read_weights(
            config,
            reader,
            meanwhile,
            ops=ops or (mlx_ops.PlainOps() if mlx_device() == CPU else mlx_ops.FastOps(fused=True)),
            codec_ops=_codec_ops(codec_backend or choices.codec, with_llvm=choices.backend == "llvm"),
        )
    return SpeechModel(
        folder=folder,
        config=config,
        generation=generation,
        tokenizer=tokenizer.result(),
        network=network_of(talker, predictor, backend=backend),
        host_bytes=reader.reads.nbytes + reader.mlx_work_bytes + codec.encoder_bytes,
        dtype=str(reader.dtype).removeprefix("mlx.core."),
        codec=codec,
        speaker_encoder=voice,
        quantization=_quantization_name(checkpoint.config),
        quantized_to=dtype if checkpoint.is_quantized_now else None,
    )


def choices_for(*, dtype: str | None, backend: str | None) -> Choices:
    """Choices of this machine. Raises InvalidInput for a backend that is not known, or cannot compute in `dtype`."""
    if backend not in (None, *BACKENDS):
        raise InvalidInput(f"There is no backend {backend!r}; choose {', '.join(BACKENDS)}, or none.")
    # NumPy computes on the CPU of every machine.
    return choose(mlx_device() if backend in (None, "mlx") else CPU, dtype=dtype, backend=backend)


def _codec_ops(name: str, *, with_llvm: bool) -> Ops:
    """The codec's operations. With LLVM, NumPy's convolve by machine code where the processor has tiles."""
    if name != "numpy" or not with_llvm:
        return ops_named(name)
    try:
        from models.qwen3_tts.network_cpu.tile_convolution import tile_convolution
    except (ImportError, OSError):  # `linear_for` will say why
        return ops_named(name)
    return NumpyOps(find_convolution=tile_convolution)


def _read_weights(
    config: ModelConfig,
    reader: Reader,
    meanwhile: ThreadPoolExecutor,
    *,
    ops: mlx_ops.Ops,
    codec_ops: Ops,
) -> tuple[Talker, CodePredictor, Codec, SpeakerEncoder | None]:
    """Every part that has weights. Raises UnsupportedCheckpoint naming each that does not fit, before any is read."""
    checkpoint, reads, errors = reader.checkpoint, reader.reads, LoadErrors()
    voice = open_speaker_encoder(checkpoint, ops=codec_ops, reads=reads, errors=errors)
    checkpoint.tensors.take_all(SPEAKER_ENCODER_PREFIX)
    talker, predictor = load_networks(config.talker_config, reader, ops)
    reader.finish(str(checkpoint.folder), errors)
    # The codec is stored and computed in float32, whatever the talker's dtype.
    codec_folder = checkpoint.folder / "speech_tokenizer"
    codec = open_codec(codec_folder, ops=codec_ops, reads=reads, errors=errors)
    errors.raise_if_any()
    # Should this fail, `linear_for` fails again and says why.
    meanwhile.submit(_make_kernels, config.talker_config, reader)
    workers = Workers(READERS)
    others = meanwhile.submit(reads.finish, lambda tasks: workers.run(lambda task: task(), tasks))
    # By MLX, which wants one thread.
    are_finite = [work() for work in reader.mlx_work] + [materialize(talker), materialize(predictor)]
    others.result()
    if not all(are_finite):
        raise _not_finite(checkpoint, reader.dtype)
    return talker, predictor, codec, voice


def _refuse_unusable(folder: Path) -> None:
    """Raise UnsupportedCheckpoint, in the words of `voicejobs models verify`, for a folder that is not usable."""
    state = availability(folder)
    if isinstance(state, Available):
        return
    if isinstance(state, Partial):
        raise UnsupportedCheckpoint(f"{folder} cannot be used: {'; '.join(state.problems)}.", hint=state.hint)
    reason = state.reason if isinstance(state, NotAvailable) else "it is being downloaded"
    raise UnsupportedCheckpoint(f"{folder} holds no model that we can load: {reason}.")


def _not_finite(checkpoint: Checkpoint, dtype: mx.Dtype) -> UnsupportedCheckpoint:
    """The error for weights that hold NaN or infinity, as they are stored or in the dtype that is computed in."""
    for path in weight_files(checkpoint.folder):
        if (problem := numbers_problem(path)) is not None:
            return UnsupportedCheckpoint(f"{path} {problem}.", hint=NOT_FINITE_HINT)
    named = str(dtype).removeprefix("mlx.core.")
    return UnsupportedCheckpoint(
        f"Weights in {checkpoint.folder} are too large for {named}.", hint='Set dtype = "bfloat16" or "float32".'
    )


def _make_kernels(config: TalkerConfig, reader: Reader) -> None:
    """Make the machine code that `NumpyNetwork` and the codec will ask for."""
    if not reader.keep_stored:
        return
    from models.qwen3_tts.network_cpu.bf16_kernels import Bfloat16RowProduct, bfloat16_kernels  # need LLVM
    from models.qwen3_tts.network_cpu.layer_kernels import LayerShape, RowProduct, layers_kernel
    from models.qwen3_tts.network_cpu.packed_kernels import packed_kernels
    from models.qwen3_tts.network_cpu.packed_row import PackedRowProduct
    from models.qwen3_tts.network_cpu.tile_convolution import tile_convolution

    tile_convolution()
    if reader.keeps_bfloat16:
        bfloat16_kernels()
    packed = [PackedRowProduct.here(each, in_bfloat16=in_bfloat16) for each, in_bfloat16 in reader.packings]
    for product in packed:
        packed_kernels(product)
    products: list[RowProduct] = [*packed, *([Bfloat16RowProduct()] if reader.keeps_bfloat16 else [])]
    for shape in (LayerShape.of(one) for one in (config, config.code_predictor_config)):
        if shape.fits and len(products) == 1:
            layers_kernel(shape, products[0])


def network_of(talker: Talker, predictor: CodePredictor, *, backend: str | None) -> Network:
    """The backend asked for, or the one that is fast here. Raises InvalidInput when it cannot compute this."""
    can = can_compute(talker, predictor)
    if backend == "mlx" or (backend is None and not (mlx_device() == CPU and can)):
        return MlxNetwork(talker, predictor)
    if not can:
        raise InvalidInput("NumPy computes plain float32 weights only.", hint='Use dtype="float32", dequantize=True.')
    return NumpyNetwork(talker, predictor)


def compute_dtype(checkpoint: Checkpoint, dtype: str | None) -> mx.Dtype:
    """The named dtype; the one that the talker's norms are stored in where none is named."""
    if dtype is not None:
        if dtype not in DTYPES:
            known = ", ".join([*DTYPES, *QUANTIZED_DTYPES])
            raise InvalidInput(f"The dtype {dtype!r} cannot be computed in; choose {known}, or none.")
        return DTYPES[dtype]
    norm = checkpoint.tensors.get("talker.model.norm.weight")
    if norm is None or norm.dtype not in DTYPES.values():
        return mx.float32  # the reader names missing tensors and those that are not floats
    return norm.dtype


def _quantization_name(config: Mapping[str, Any]) -> str | None:
    table = config.get("quantization") or {}
    return f"{table['bits']}-bit" if "bits" in table else None
