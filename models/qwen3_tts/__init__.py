"""Qwen3-TTS on MLX: text and a voice in, 24 kHz speech out."""

from models.qwen3_tts.load import load_speech_model
from models.qwen3_tts.prompt.request import Speech, SpeechRequest
from models.qwen3_tts.prompt.sampling import Sampling, process_logits
from models.qwen3_tts.speech_model import SpeechModel
from models.voices.clone_prompt import ClonePrompt

__all__ = ["ClonePrompt", "Sampling", "Speech", "SpeechModel", "SpeechRequest", "load_speech_model", "process_logits"]
