"""Run the official package over the cases of `tests/data/reference` and record what it computes.

In an environment with qwen-tts (`pip install qwen-tts soundfile safetensors`), from the project's root:

    python tests/parity/make_golden.py                       all checkpoints, into tests/data/reference/goldens
    python tests/parity/make_golden.py --checkpoint base --case icl_streaming --out /tmp/goldens
    python tests/parity/make_golden.py --compare             record nothing, print how far each array is off

Other checkpoints (`tests/checkpoints.py` writes them) and cases of one's own are recorded with `--data`, a folder of
the same form as `tests/data/reference`.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.parity.golden_recorder import SpeechRecorder, array, outputs_of, quantizer_margins, wrapped
from tests.reference import recorded_windows

DATA = Path(__file__).parent.parent / "data" / "reference"
METHODS = {
    "base": "generate_voice_clone",
    "custom_voice": "generate_custom_voice",
    "voice_design": "generate_voice_design",
}
GREEDY = {"do_sample": False, "subtalker_dosample": False}
CALL_KEYS = ("text", "language", "speaker", "instruct", "ref_text", "x_vector_only_mode")
KEPT_CLIP_SAMPLES = 48_000  # clips up to this are kept beside their results
SHORT_CLIP_SAMPLES = 12_000  # whose speaker encoder is recorded block by block
SAMPLES_PER_FRAME = 1920

Arrays = dict[str, np.ndarray]


class Session:
    """One checkpoint, opened by the official package, and where its audio lies."""

    def __init__(self, data: Path, checkpoint: str) -> None:
        from qwen_tts import Qwen3TTSModel

        self.data = data
        self.checkpoint = checkpoint
        self.tts: Any = Qwen3TTSModel.from_pretrained(str(data / checkpoint), dtype=torch.float32, device_map="cpu")
        self.model: Any = self.tts.model
        self.codec: Any = self.model.speech_tokenizer.model

    def audio(self, name: str) -> tuple[np.ndarray, int]:
        samples, sample_rate_hz = soundfile.read(self.data / "audio" / name, dtype="float32")
        return samples, sample_rate_hz

    def clips(self, names: str | list[str]) -> Any:
        """What the official calls take as `ref_audio`."""
        return self.audio(names) if isinstance(names, str) else [self.audio(name) for name in names]

    def record(self, case: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        """The scalars and arrays of one case."""
        with torch.no_grad():
            found: tuple[dict[str, Any], Arrays] = getattr(self, f"record_{case['kind']}")(case)
        return found

    def record_tts(self, case: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        arguments = {key: case[key] for key in CALL_KEYS if key in case}
        if "ref_audio" in case:
            arguments["ref_audio"] = self.clips(case["ref_audio"])
        recorder = SpeechRecorder(self.tts)
        with recorder.recording():
            call = getattr(self.tts, METHODS[self.checkpoint_variant])
            waves, sample_rate_hz = call(**arguments, **{**GREEDY, **case.get("kwargs", {})})
        arrays = recorder.arrays()
        frames = [len(arrays[f"codes.{item}"]) for item in range(len(waves))]
        arrays |= wave_arrays(case, waves)
        sequences = arrays["talker_sequences"]
        eos = self.model.config.talker_config.codec_eos_token_id
        return {
            "batch": len(waves),
            "prefill_len": arrays["prefill_embeds"].shape[1],
            "sampled": sequences.shape[1],
            "frames": frames,
            "ended_by_eos": [bool((row == eos).any()) for row in sequences],
            "wave_samples": [len(wave) for wave in waves],
            "sample_rate": sample_rate_hz,
            "min_talker_margin": float(arrays["talker_margin"].min()),
            "min_predictor_margin": float(arrays["predictor_margin"].min()),
            "talker_generate_kwargs": plain_settings(recorder.talker_call),
        }, arrays

    @property
    def checkpoint_variant(self) -> str:
        return str(self.model.tts_model_type)

    def record_prompt(self, case: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        names = case["ref_audio"] if isinstance(case["ref_audio"], list) else [case["ref_audio"]]
        clips = [self.audio(name) for name in names]
        encoder, speaker = self.codec.encoder, self.model.speaker_encoder
        stages = {"enc_conv": encoder.encoder, "enc_transformer": encoder.encoder_transformer}
        stages["enc_downsample"] = encoder.downsample
        blocks = {f"speaker_block{index}": block for index, block in enumerate(speaker.blocks)}
        blocks |= {"speaker_mfa": speaker.mfa, "speaker_asp": speaker.asp}
        outputs: dict[str, list[Any]] = {}
        margins: list[np.ndarray] = []
        encoded: list[Any] = []
        mels: list[Any] = []
        taken: list[np.ndarray] = []
        with (
            outputs_of(stages | blocks, outputs),
            quantizer_margins(encoder, margins),
            wrapped(encoder.quantizer, "encode", lambda _a, _k, result: encoded.append(result)),
            wrapped(speaker, "forward", lambda arguments, _k, _r: mels.append(arguments[0])),
            wrapped(self.model, "extract_speaker_embedding", lambda a, k, _r: taken.append(k.get("audio", *a[:1]))),
        ):
            items = self.tts.create_voice_clone_prompt(ref_audio=clips, ref_text=["x"] * len(clips))
        codes = array(encoded[0]).transpose(1, 0, 2)  # (Q, B, T) -> (B, Q, T)
        arrays = {"codes_all_quantizers": codes, **{name: array(outputs[name][0]) for name in stages}}
        shape = (len(codes), codes.shape[2])
        arrays["quantizer_margin"] = np.stack([margin.reshape(shape) for margin in margins], axis=1)
        for item, (clip, prompt) in enumerate(zip(clips, items, strict=True)):
            arrays[f"mel.{item}"] = array(mels[item])[0]
            arrays[f"spk_embedding.{item}"] = array(prompt.ref_spk_embedding)
            arrays[f"ref_codes.{item}"] = array(prompt.ref_code)
            if clip[1] != self.model.speaker_encoder_sample_rate:
                arrays[f"audio_24k.{item}"] = array(taken[item])
            if len(clip[0]) <= KEPT_CLIP_SAMPLES:
                arrays[f"audio.{item}"] = clip[0]
            if len(clip[0]) < SHORT_CLIP_SAMPLES:
                arrays |= {f"{name}.{item}": array(outputs[name][item]) for name in blocks}
        return {
            "ref_frames": [len(arrays[f"ref_codes.{item}"]) for item in range(len(items))],
            "sample_rates": [clip[1] for clip in clips],
            "encoded_frames_before_trim": shape[1],
            "min_quantizer_margin": float(arrays["quantizer_margin"].min()),
        }, arrays

    def record_codec(self, case: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        arrays: Arrays = {}
        if "audio" in case:
            samples, sample_rate_hz = self.audio(case["audio"])
            encoded: list[Any] = []
            with wrapped(self.codec.encoder.quantizer, "encode", lambda _a, _k, result: encoded.append(result)):
                codes = self.model.speech_tokenizer.encode(samples, sr=sample_rate_hz).audio_codes
            arrays["codes_all_quantizers"] = array(encoded[0]).transpose(1, 0, 2)
            if len(samples) <= KEPT_CLIP_SAMPLES:
                arrays["audio.0"] = samples
        else:
            codes = self.random_codes(**case["codes"])
        kept: dict[str, list[Any]] = {}
        stages = self.decoder_stages() if case.get("intermediates") else {}
        keep_sum = (lambda _a, _k, result: kept.update(quantized=[result])) if stages else (lambda *_: None)
        with outputs_of(stages, kept), wrapped(self.codec.decoder.quantizer, "decode", keep_sum):
            waves, sample_rate_hz = self.model.speech_tokenizer.decode([{"audio_codes": each} for each in codes])
        arrays |= {name: array(values[0]) for name, values in kept.items()}
        arrays |= {f"codes.{item}": array(each) for item, each in enumerate(codes)}
        arrays |= wave_arrays(case, waves)
        info = {"frames": [len(each) for each in codes], "wave_samples": [len(wave) for wave in waves]}
        return {**info, "sample_rate": sample_rate_hz}, arrays

    def random_codes(self, *, seed: int, frames: list[int], zero_frames: tuple[int, ...] = ()) -> list[torch.Tensor]:
        """Codes by numpy's frozen generator, which draws as torch's does; some frames begin with code 0."""
        config = self.codec.config.decoder_config
        generator = np.random.RandomState(seed)
        codes = [generator.randint(0, config.codebook_size, (length, config.num_quantizers)) for length in frames]
        for each in codes:
            each[list(zero_frames), 0] = 0
        return [torch.from_numpy(each) for each in codes]

    def decoder_stages(self) -> dict[str, torch.nn.Module]:
        decoder = self.codec.decoder
        stages = {f"decoder{index}": layer for index, layer in enumerate(decoder.decoder)}
        for index, (expand, mix) in enumerate(decoder.upsample):
            stages |= {f"upsample{index}_transconv": expand, f"upsample{index}_convnext": mix}
        layers = decoder.pre_transformer.layers
        stages |= {f"pre_transformer_layer{index}": layer for index, layer in enumerate(layers)}
        return stages | {"pre_conv": decoder.pre_conv, "pre_transformer": decoder.pre_transformer}

    def record_tokenizer(self, case: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        def ids(text: str) -> list[int]:
            return array(self.tts._tokenize_texts([text])[0]).ravel().tolist()

        builders = {
            "assistant": self.tts._build_assistant_text,
            "ref": self.tts._build_ref_text,
            "instruct": self.tts._build_instruct_text,
        }
        results = [
            {"text": text, "ids": ids(text), **{name: ids(build(text)) for name, build in builders.items()}}
            for text in case["texts"]
        ]
        return {"results": results}, {}

    def record_defaults(self, case: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        class Stop(Exception):
            pass

        settings: dict[str, Any] = {}

        def stop(*_arguments: Any, **keywords: Any) -> None:
            settings.update(plain_settings(keywords))
            raise Stop

        method = getattr(self.tts, case["method"])
        original, self.model.talker.generate = self.model.talker.generate, stop
        try:
            method(**self.arguments(case))
        except Stop:
            pass
        finally:
            self.model.talker.generate = original
        default = inspect.signature(method).parameters["non_streaming_mode"].default
        return {
            "talker_generate_kwargs": {"non_streaming_mode(default)": default, **settings},
            "supported_languages": sorted(self.tts.get_supported_languages() or []),
            "supported_speakers": sorted(self.tts.get_supported_speakers() or []),
        }, {}

    def record_error(self, case: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        try:
            getattr(self.tts, case["method"])(**self.arguments(case))
        except Exception as error:  # whatever it is, it is what we record
            return {"exception": type(error).__name__, "message": str(error)}, {}
        return {"exception": None, "message": None}, {}

    def arguments(self, case: dict[str, Any]) -> dict[str, Any]:
        arguments = dict(case["args"])
        if "ref_audio" in arguments:
            samples, sample_rate_hz = self.audio(arguments["ref_audio"])
            arguments["ref_audio"] = (samples[: case.get("crop")], sample_rate_hz)
        return arguments

    def record_sampler(self, case: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        """The official processors, as the talker builds them, on recorded logits and histories."""
        recorded = load_file(self.data / "goldens" / self.checkpoint / f"{case['id']}.safetensors")
        logits, history = (torch.from_numpy(recorded[name]) for name in ("logits", "history"))
        arrays: Arrays = {"logits": recorded["logits"], "history": recorded["history"]}
        found = []
        for index, settings in enumerate(case["sets"]):
            processors, scores = self.processed(logits, history[:, : settings["history"]], settings)
            arrays[f"scores.{index}"] = array(scores)
            kept = torch.isfinite(scores).sum(dim=-1).tolist()
            found.append({**settings, "processors": processors, "kept": kept})
        return {"sets": found}, arrays

    def processed(self, logits: torch.Tensor, history: torch.Tensor, settings: dict[str, Any]) -> tuple[list[str], Any]:
        from transformers import GenerationConfig

        config = self.model.config.talker_config
        eos = config.codec_eos_token_id
        suppressed = [code for code in range(config.vocab_size - 1024, config.vocab_size) if code != eos]
        values = {key: value for key, value in settings.items() if key != "history"}
        generation = GenerationConfig(
            do_sample=True, min_new_tokens=2, eos_token_id=eos, suppress_tokens=suppressed, **values
        )
        generation._eos_token_tensor = torch.tensor([eos])
        processors = self.model.talker._get_logits_processor(
            generation_config=generation, input_ids_seq_length=0, device="cpu"
        )
        return [type(each).__name__ for each in processors], processors(history.long(), logits.clone())


def wave_arrays(case: dict[str, Any], waves: list[np.ndarray]) -> Arrays:
    """The samples that a case wants kept, and the loudness of every frame."""
    arrays: Arrays = {}
    for item, wave in enumerate(waves):
        frames = len(wave) // SAMPLES_PER_FRAME
        if case.get("wave", "full") != "none":
            spans = recorded_windows(case, frames=frames)
            parts = [wave[a * SAMPLES_PER_FRAME : b * SAMPLES_PER_FRAME] for a, b in spans]
            arrays[f"wave.{item}"] = np.concatenate(parts).astype(np.float32)
        by_frame = wave[: frames * SAMPLES_PER_FRAME].reshape(frames, SAMPLES_PER_FRAME).astype(np.float64)
        arrays[f"wave_frame_rms.{item}"] = np.sqrt(np.square(by_frame).mean(axis=1)).astype(np.float32)
    return arrays


def plain_settings(keywords: dict[str, Any]) -> dict[str, Any]:
    """The settings among a call's keywords, the long list of suppressed codes shortened."""
    plain = {key: value for key, value in keywords.items() if isinstance(value, (bool, int, float))}
    if suppressed := keywords.get("suppress_tokens"):
        plain["suppress_tokens"] = f"[{suppressed[0]}..{suppressed[-1]}] n={len(suppressed)}"
    return plain


def compare(case: str, ours: Arrays, recorded: Arrays) -> None:
    """Print where a new recording differs from the kept one."""
    for name in sorted(ours.keys() ^ recorded.keys()):
        print(f"  {case} {name}: only {'new' if name in ours else 'kept'}")
    for name in sorted(ours.keys() & recorded.keys()):
        if ours[name].shape != recorded[name].shape:
            print(f"  {case} {name}: shape {ours[name].shape}, kept {recorded[name].shape}")
            continue
        finite = np.isfinite(ours[name]) & np.isfinite(recorded[name])
        gap = np.abs(np.where(finite, ours[name], 0) - np.where(finite, recorded[name], 0)).max(initial=0)
        if gap > 0:
            print(f"  {case} {name}: off by {gap:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="checkpoints, audio and cases")
    parser.add_argument("--out", type=Path, help="where goldens go; default: goldens/ in --data")
    parser.add_argument("--checkpoint", action="append", help="only this one; may be repeated")
    parser.add_argument("--case", action="append", help="only this one; may be repeated")
    parser.add_argument("--compare", action="store_true", help="record nothing, compare with what is there")
    options = parser.parse_args()
    for path in sorted((options.data / "cases").glob("*.json")):
        if options.checkpoint is None or path.stem in options.checkpoint:
            record_checkpoint(options, path.stem, json.loads(path.read_text("utf-8"))["cases"])


def record_checkpoint(options: argparse.Namespace, checkpoint: str, cases: list[dict[str, Any]]) -> None:
    import transformers

    session = Session(options.data, checkpoint)
    folder = (options.out or options.data / "goldens") / checkpoint
    kept = options.data / "goldens" / checkpoint
    manifest: dict[str, Any] = {"checkpoint": checkpoint, "package": "qwen-tts", "cases": {}}
    manifest |= {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": "float32",
        "attn": "sdpa",
    }
    for case in cases:
        if options.case is not None and case["id"] not in options.case:
            continue
        print(f"{checkpoint} {case['id']}", flush=True)
        info, arrays = session.record(case)
        if options.compare:
            recorded = kept / f"{case['id']}.safetensors"
            compare(case["id"], arrays, load_file(recorded) if recorded.exists() else {})
            continue
        entry: dict[str, Any] = {"case": case, "info": info}
        if arrays:
            folder.mkdir(parents=True, exist_ok=True)
            whole = {name: np.ascontiguousarray(value) for name, value in sorted(arrays.items())}
            save_file(whole, folder / f"{case['id']}.safetensors")
            entry["file"] = f"{case['id']}.safetensors"
            entry["tensors"] = {name: [str(value.dtype), list(value.shape)] for name, value in whole.items()}
        manifest["cases"][case["id"]] = entry
    if not options.compare:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False), "utf-8")


if __name__ == "__main__":
    main()
