"""The bytes of a locked voice, ours or the Swift tools' → the clone prompt that this model speaks with."""

from __future__ import annotations

from models.qwen3_tts.speech_model import SpeechModel
from models.voices.clone_prompt import ClonePrompt
from models.voices.swift_prompt import is_swift_prompt, parse_swift_prompt, to_clone_prompt


def speakable_prompt(content: bytes, model: SpeechModel) -> ClonePrompt:
    """Raises InvalidClonePrompt, and InvalidReferenceAudio when a missing speaker embedding cannot be made up for.

    A Swift prompt without a speaker embedding gets that of its own codes, decoded.
    """
    if not is_swift_prompt(content):
        return ClonePrompt.from_bytes(content)
    prompt = parse_swift_prompt(content)
    if prompt.embedding is not None:
        return to_clone_prompt(prompt)
    spoken = model.decode_codes(prompt.reference_codes())
    return to_clone_prompt(prompt, speaker_embedding=model.speaker_embedding(spoken))
