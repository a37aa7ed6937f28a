"""The engine protocol over one Qwen3-TTS checkpoint: work in, waveforms and clone prompts out.

All calls come from the main thread of the engine process. The paths for Metal and CUDA are untested here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import mlx.core as mx

from models.errors import InvalidClonePrompt, InvalidReferenceAudio
from models.hardware.blas import loaded_blas, package_version
from models.hardware.compute import choose, mlx_device
from models.hardware.device_memory import free_device_bytes, wired_limit
from models.protocol import (
    SAMPLE_RATE_HZ,
    EngineFacts,
    LockDone,
    LockedVoice,
    LockWork,
    OnProgress,
    SpeechDone,
    SpeechPiece,
    SpeechWork,
    Waveform,
    WorkFailed,
    WorkFeed,
)
from models.qwen3_tts.load import load_speech_model
from models.qwen3_tts.memory_limits import rows_that_fit, set_memory_limits, wired_bytes
from models.qwen3_tts.prompt.request import SpeechRequest
from models.qwen3_tts.prompt.sampling import Sampling
from models.qwen3_tts.speech_model import SpeechModel
from models.qwen3_tts.text_pieces import ActiveSpeech, as_plain_text
from models.store.catalog import ABILITIES_OF_VARIANT, MEMORY_FACTOR
from models.store.installed import revision_of
from models.store.memory import memory_verdict
from models.store.shared_directory import hold_for_loading
from models.voices.clone_prompt import ClonePrompt
from models.voices.swift_prompt import is_swift_prompt, parse_swift_prompt, to_clone_prompt
from registry.durable_files import FileLock
from registry.errors import InvalidInput, VoiceJobsError

NAME = "qwen3-tts"
RENDER_VERSION = "qwen3-tts/1"  # raise it whenever equal requests may sound different than before
REMEMBERED_PROMPTS = 64
COMPARED_SAMPLES = 10 * SAMPLE_RATE_HZ  # of a take, with its lock: more would say the same and take longer

_Rows: TypeAlias = dict[int, tuple[ActiveSpeech, int]]  # index of a request -> its speech, and the number of its piece


class QwenEngine:
    """One loaded model behind `models.protocol.Engine`."""

    def __init__(
        self,
        model: SpeechModel,
        *,
        name: str,
        dtype: str,
        batch: int,
        revision: str | None = None,
        lock: FileLock | None = None,
        blas: str | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self._model = model
        self._revision = revision
        self._lock = lock  # so that nobody moves or removes the weights
        self._name, self._dtype, self._batch = name, dtype, batch
        self._blas, self._warnings = blas, warnings
        self._sampling = Sampling.defaults(model)
        self._added_tokens = model.tokenizer.added_tokens()
        self._prompts: OrderedDict[str, ClonePrompt] = OrderedDict()

    def facts(self) -> EngineFacts:
        model = self._model
        return EngineFacts(
            engine=NAME,
            engine_version=_version_of("voicejobs"),
            render_version=render_version_of(model),
            model=self._name,
            model_fingerprint=model.fingerprint,
            model_revision=self._revision,
            quantization=model.quantization,
            backend=mlx_device(),
            dtype=self._dtype,
            batch=self._batch,
            abilities=_abilities(model),
            presets=model.speakers,
            languages=model.languages,
            warnings=self._warnings,
            versions={name: _version_of(name) for name in ("mlx", "numpy", "tokenizers", "voicejobs")},
            details={
                "formulation": model.network.name,
                "codec": model.codec.ops.name,
                "blas": self._blas,
                "variant": model.variant,
                "size": model.config.tts_model_size,
            },
        )

    def lock(self, work: LockWork) -> LockDone:
        """The clone prompt of a recording. Raises InvalidReferenceAudio or UnsupportedRequest."""
        if work.waveform is None:
            raise InvalidInput("Locking a voice needs its recording.")
        transcript = as_plain_text(work.transcript, self._added_tokens) or None
        prompt = self._model.make_clone_prompt(work.waveform, transcript, work.language, work.embedding_only)
        codes = prompt.reference_codes
        frames, codebooks = (None, None) if codes is None else codes.shape
        mx.clear_cache()
        return LockDone(
            id=work.id,
            prompt=prompt.to_bytes(),
            facts={"embedding_size": prompt.embedding_size, "frames": frames, "codebooks": codebooks},
            speaker_embedding=prompt.speaker_embedding,
        )

    def speak(
        self, work: Iterable[SpeechWork | None], *, progress: OnProgress
    ) -> Iterator[SpeechDone | SpeechPiece | WorkFailed]:
        """Answers to all work, rendered in one running batch; see the protocol."""
        failed: list[WorkFailed] = []
        rows: _Rows = {}

        def note_progress(index: int, frames: int) -> bool:
            active, piece = rows[index]
            active.frames[piece] = frames
            if not active.cancelled and not progress(active.work.id, sum(active.frames.values())):
                active.cancelled = True
            return not active.cancelled

        def add_chunk(index: int, waveform: Waveform) -> None:
            active, piece = rows[index]
            active.add_chunk(piece, waveform)

        rendering = self._model.render(
            self._requests(work, rows, failed),
            batch=self._batch,
            progress=note_progress,
            in_chunks=lambda index: rows[index][0].work.live,
            on_chunk=add_chunk,
        )
        with wired_limit(wired_bytes(self._model, rows=self._batch)):
            for finished in rendering:
                live = {id(active): active for active, _ in rows.values() if active.work.live}
                ended = [rows.pop(index) for index, _ in finished]
                for (active, piece), (_, speech) in zip(ended, finished, strict=True):
                    active.spoken[piece] = speech
                for active in live.values():
                    yield from active.next_chunks()
                for active in {id(active): active for active, _ in ended}.values():
                    if active.is_done:
                        yield self._compared(active.work, active.done(batch=self._batch))
                while failed:
                    yield failed.pop()
        yield from failed

    def _compared(self, work: SpeechWork, done: SpeechDone) -> SpeechDone:
        """A take with how alike its voice and the lock's are, where a locked voice has spoken and nobody listened."""
        prompt = self._prompt_of(work)
        if prompt is None or work.live or self._model.speaker_encoder is None or done.finish_reason == "cancelled":
            return done
        with contextlib.suppress(InvalidReferenceAudio):  # too short, or silent
            own = self._model.speaker_embedding(done.waveform[:COMPARED_SAMPLES])
            return dataclasses.replace(done, similarity=prompt.similarity_to(own))
        return done

    def _requests(
        self, work: Iterable[SpeechWork | None], rows: _Rows, failed: list[WorkFailed]
    ) -> Iterator[SpeechRequest | None]:
        """Requests for the pieces of all work, as they are pulled; work that cannot be done goes to `failed`.

        Live work goes before the further pieces of a long text.
        """
        indices = itertools.count()
        next_live = work.next_live if isinstance(work, WorkFeed) else lambda: None
        for item in work:
            if item is None:
                yield None
                continue
            for request in self._requests_of(item, rows, failed, indices):
                yield request
                while not item.live and (live := next_live()) is not None:
                    yield from self._requests_of(live, rows, failed, indices)

    def _requests_of(
        self, item: SpeechWork, rows: _Rows, failed: list[WorkFailed], indices: Iterator[int]
    ) -> Iterator[SpeechRequest | None]:
        active = ActiveSpeech.of(item)
        try:
            requests = active.requests(
                sampling=self._sampling, clone_prompt=self._prompt_of(item), added_tokens=self._added_tokens
            )
            for request in requests:
                self._model.prepare(request)
        except VoiceJobsError as error:
            failed.append(WorkFailed.from_error(item.id, error))
            yield None  # has the failure yielded
            return
        for number, request in enumerate(requests):
            if not active.cancelled:
                rows[next(indices)] = (active, number)
                active.frames[number] = 0
                yield request

    def _prompt_of(self, work: SpeechWork) -> ClonePrompt | None:
        """The clone prompt of a locked voice, read once. Raises InvalidClonePrompt."""
        if not isinstance(work.voice, LockedVoice):
            return None
        key = work.voice.prompt_sha256
        if key not in self._prompts:
            if hashlib.sha256(work.voice.prompt).hexdigest() != key:
                raise InvalidClonePrompt("The clone prompt's bytes do not match its digest.")
            prompt = self._read_prompt(work.voice.prompt)
            transcript = prompt.transcript and as_plain_text(prompt.transcript, self._added_tokens)
            self._prompts[key] = dataclasses.replace(prompt, transcript=transcript)
        self._prompts.move_to_end(key)
        while len(self._prompts) > REMEMBERED_PROMPTS:
            self._prompts.popitem(last=False)
        return self._prompts[key]

    def _read_prompt(self, content: bytes) -> ClonePrompt:
        """The clone prompt in our bytes or the Swift tools', whose missing speaker embedding is that of its own codes.

        Raises InvalidClonePrompt, and InvalidReferenceAudio when no embedding can be made.
        """
        if not is_swift_prompt(content):
            return ClonePrompt.from_bytes(content)
        prompt = parse_swift_prompt(content)
        if prompt.embedding is not None:
            return to_clone_prompt(prompt)
        spoken = self._model.decode_codes(prompt.reference_codes())
        return to_clone_prompt(prompt, speaker_embedding=self._model.speaker_embedding(spoken))

    def close(self) -> None:
        """Give the model's memory back."""
        del self._model
        if self._lock is not None:
            self._lock.release()
        self._prompts.clear()
        mx.clear_cache()


def open_qwen3_tts(
    folder: Path,
    *,
    model: str,
    dtype: str | None,
    batch: int | None,
    memory_limit_bytes: int | None,
    backend: str | None = None,
    memory_factor: float = MEMORY_FACTOR,
    memory_check: str = "warn",
) -> QwenEngine:
    """An engine with the checkpoint in `folder`, which computes as `models.hardware.compute.choose` says.

    Raises UnsupportedCheckpoint, NotEnoughMemory when the device has too little and `memory_check` is "refuse", or Busy
    while somebody moves or removes it.
    """
    choices = choose(mlx_device(), dtype=dtype, backend=backend, batch=batch, blas=loaded_blas().name)
    lock = hold_for_loading(folder)
    try:
        warnings = check_device_memory(folder, free_device_bytes(), factor=memory_factor, policy=memory_check)
        loaded = load_speech_model(
            folder,
            dtype,
            dequantize=choices.dequantize,
            backend=choices.backend,
            codec_backend=choices.codec,
        )
    except BaseException:
        if lock is not None:
            lock.release()
        raise
    rows = choices.batch
    if memory_limit_bytes is not None:
        rows = rows_that_fit(loaded, memory_limit_bytes, at_most=rows)
    set_memory_limits(memory_limit_bytes)
    return QwenEngine(
        loaded,
        name=model,
        dtype=loaded.quantized_to or loaded.dtype,
        batch=rows,
        revision=revision_of(folder),
        lock=lock,
        blas=choices.blas,
        warnings=warnings,
    )


def check_device_memory(folder: Path, free_bytes: int | None, *, factor: float, policy: str) -> tuple[str, ...]:
    """Warnings before the weights in `folder` go to a device with memory of its own; `free_bytes` None: it has none.

    Raises NotEnoughMemory.
    """
    if free_bytes is None:
        return ()
    warning = memory_verdict(folder, factor=factor, policy=policy, free_bytes=free_bytes).warning
    return (warning,) if warning else ()


def render_version_of(model: SpeechModel) -> str:
    """The part of take keys that says how speech is made: each backend and dtype draws and rounds its own way."""
    quantized = f"-{model.quantized_to}" if model.quantized_to else ""
    return f"{RENDER_VERSION}+{model.network.name}-{model.dtype}{quantized}"


def _abilities(model: SpeechModel) -> tuple[str, ...]:
    """As the model card has them."""
    abilities = ABILITIES_OF_VARIANT[model.variant]
    return tuple(one for one in abilities if not (one == "instruct" and model.config.ignores_instruct))


def _version_of(package: str) -> str:
    return package_version(package) or "unknown"  # run from a source tree that is not installed
