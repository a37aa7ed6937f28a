"""Speaker profiles of OuteTTS: exported as JSON and in voice files, imported, and refused where there is none."""

import json
from dataclasses import replace

import numpy as np
import pytest

from models.errors import InvalidClonePrompt, UnsupportedRequest
from models.voices.outetts_profile import make_profile
from models.voices.recorded_prompt import PROFILED_PROMPT, RecordedPrompt, recorded_prompt
from runner.exchange.exporter import PROFILE_FILE, ConsentMissing, export_profile
from runner.scheduling.voice_resolution import locked_voice
from tests.runner.exchange.travelling import MODEL, exported, imported, locked, manifest_in

CODES = np.arange(300).reshape(2, 150)
TEXT = "Look out, I shout."
WAVEFORM = np.sin(np.arange(48_000) / 20).astype(np.float32) * np.float32(0.3)
PROFILE = make_profile(WAVEFORM, [("Look", 0.3, 0.8), ("out", 0.9, 1.4)], CODES, transcript=TEXT)
PROMPT = RecordedPrompt(waveform=WAVEFORM, transcript=TEXT, profile=PROFILE)
OTHER_MODEL = replace(MODEL, engine="mlx-audio", model="outetts", render_version="mlx-audio-1")


def with_profile(registry, **changes):
    facts = {"family": "outetts"}
    prompt_sha256 = registry.objects.put(PROMPT.to_bytes())
    return locked(registry, model=OTHER_MODEL, prompt_sha256=prompt_sha256, prompt_facts=facts, **changes)


def profile_of(registry, reference="elena"):
    with registry.db.read() as session:
        return export_profile(session, registry.objects, reference)


def test_a_profile_is_exported_as_outetts_reads_it_and_imported_again(home, away):
    with_profile(home)
    found = profile_of(home)
    assert (json.loads(found.content), found.file_name) == (PROFILE, "elena.json")
    version = imported(away, found.content, name="speaker.json", voice="elena", consent="granted").chosen
    assert (version.model.engine, version.model.model, version.transcript) == ("mlx-audio", "outetts", TEXT)
    assert recorded_prompt(away.objects.read(version.prompt_sha256)).profile == PROFILE
    assert profile_of(away).content == found.content


def test_a_voice_file_carries_the_profile_where_other_programs_find_it(home, away):
    with_profile(home)
    content = exported(home).content
    assert manifest_in(content)["extensions"]["outetts"] == {"profile": PROFILE_FILE}
    assert imported(away, content).chosen.model.model == "outetts"
    assert profile_of(away).content == profile_of(home).content
    assert exported(away).content == content


def test_a_profile_beside_the_prompt_of_another_model_travels_with_it_and_lets_mlx_audio_speak(home, away):
    beside = home.objects.put(PROMPT.to_bytes())
    locked(home, attachments={PROFILED_PROMPT: beside})
    version = imported(away, exported(home).content).chosen
    assert profile_of(away).content == profile_of(home).content
    voice = locked_voice(version)
    assert voice.spoken_by("outetts").source.prompt == voice.spoken_by("dia").source.prompt == beside
    assert voice.spoken_by("qwen3-tts-0.6b-base").source.prompt == version.prompt_sha256 != beside
    assert voice.spoken_by("outetts").digest == voice.digest


def test_a_voice_without_a_profile_names_the_way_to_one(home):
    locked(home)
    with pytest.raises(UnsupportedRequest) as caught:
        profile_of(home)
    assert "relock elena@1 --model outetts" in caught.value.hint


def test_a_profile_of_a_cloned_voice_needs_consent_too(home):
    with_profile(home, consent="unknown", provenance={"audio": "elena.wav"})
    with pytest.raises(ConsentMissing):
        profile_of(home)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"text": "Hello", "words": []}'])
def test_a_file_that_is_no_profile_is_refused(content, away):
    with pytest.raises(InvalidClonePrompt, match="no speaker profile"):
        imported(away, content, name="speaker.json")
