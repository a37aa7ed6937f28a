"""An engine in a process of its own → findings: which promises of `models/protocol.py` it keeps. Starts a process.

`voicejobs doctor --engine NAME` runs it for whoever writes an engine: one finding a promise, in the order in which an
engine is written.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.audio.quality import measure
from models.engine_kinds import kind_named, kind_of_model
from models.processes.wire import LoadFailed
from models.protocol import (
    SAMPLE_RATE_HZ,
    DescribedVoice,
    EngineFacts,
    LockDone,
    LockedVoice,
    LockWork,
    PresetVoice,
    SpeechDone,
    SpeechPiece,
    SpeechWork,
    VoiceSource,
    Waveform,
    WorkFailed,
)
from registry.errors import VoiceJobsError
from runner.config.instance import Instance
from runner.config.model_names import engine_choice
from runner.doctor.engine_trial import model_folder, model_name_of
from runner.doctor.findings import OK, PROBLEM, Found
from runner.engine.client import EngineClient, EngineLost, EngineReady

ABILITIES = {"design", "clone", "presets", "instruct"}
LONGEST_S, POLL_S = 600.0, 0.02
TEXT, OTHER_TEXT = "The bakery opens at seven, and closes at noon.", "Rain is expected in the afternoon."
LONG_TEXT = " ".join([TEXT] * 20)
PROTOCOL = "models/protocol.py says what an engine promises; docs/engines.md has an example."
MakeLine = Callable[..., SpeechWork]


class Broken(Exception):
    """A promise that is not kept, after which nothing else can be asked."""


@dataclass
class _Bench:
    """One loaded engine, and its answers."""

    client: EngineClient
    facts: EngineFacts | None = None
    answers: dict[str, SpeechDone | LockDone | WorkFailed] = field(default_factory=dict)
    pieces: dict[str, list[Waveform]] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)

    def until(self, ids: Sequence[str]) -> None:
        """Wait for the answers to this work. Raises Broken when the engine dies, or says nothing."""
        end_s = time.monotonic() + LONGEST_S
        while not all(work_id in self.answers for work_id in ids) or (not ids and self.facts is None):
            for event in self.client.tick(time.monotonic()):
                if isinstance(event, EngineReady):
                    self.facts = event.facts
                elif isinstance(event, LoadFailed):
                    raise Broken(f"it cannot be opened: {event.message} {event.hint}".strip())
                elif isinstance(event, EngineLost):
                    raise Broken(f"its process ended: {event.detail}")
                elif isinstance(event, SpeechPiece):
                    self.pieces.setdefault(event.id, []).append(event.waveform)
                elif isinstance(event, SpeechDone | LockDone | WorkFailed):
                    self.twice += [event.id] if event.id in self.answers else []
                    self.answers[event.id] = event
            if time.monotonic() > end_s:
                raise Broken(f"it did not answer within {LONGEST_S:.0f} s.")
            time.sleep(POLL_S)

    def speak(self, *work: SpeechWork) -> list[SpeechDone | LockDone | WorkFailed]:
        """The answers to some lines, in their order."""
        for line in work:
            self.client.submit(line)
        self.until([line.id for line in work])
        return [self.answers[line.id] for line in work]

    def waveform(self, work_id: str) -> Waveform:
        """The whole sound of a line, from its pieces."""
        done = self.answers[work_id]
        rest = [done.waveform] if isinstance(done, SpeechDone) else []
        return np.concatenate([*self.pieces.get(work_id, ()), *rest, np.zeros(0, np.float32)])


def engine_contract(instance: Instance, name: str) -> Found:
    """A finding for each promise, kept or not, and a last one on them all."""
    if (engine := kind_named(name)) is not None and engine.has_weights:
        yield PROBLEM, f"{name} is an engine of many models, and none is named.", "Name one of its models instead."
        return
    try:
        model = model_name_of(instance, name)
        choice = engine_choice(model, instance=instance, folder=model_folder(instance, model))
    except VoiceJobsError as error:
        yield PROBLEM, error.message, error.hint
        return
    yield OK, f"{model} is opened by the engine {kind_of_model(model).name}.", ""
    with tempfile.TemporaryDirectory(prefix="voicejobs-doctor-") as logs:
        log = Path(logs) / "engine.log"
        bench = _Bench(EngineClient(log_path=log, unload_after_s=None))
        try:
            bench.client.load(choice)
            bench.until([])
            results: list[bool] = []
            for passed, said in _promises(bench):
                results.append(passed)
                yield (OK if passed else PROBLEM), said, "" if passed else PROTOCOL
            if all(results):
                yield OK, f"{model} keeps all {len(results)} promises.", ""
            else:
                yield PROBLEM, f"{model} breaks {results.count(False)} of {len(results)} promises.", PROTOCOL
        except Broken as broken:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
            yield PROBLEM, f"{broken}{''.join(f' Its log ends: {line}' for line in last)}", PROTOCOL
        finally:
            bench.client.stop()


def _promises(bench: _Bench) -> Iterator[tuple[bool, str]]:
    """(whether it is kept, what was looked at) of each promise."""
    facts = bench.facts
    assert facts is not None
    yield from _facts_hold(facts)
    voice = _voice_of(facts)
    if voice is None:
        yield True, "it has no presets and designs no voices, so that it is heard with locked voices alone."
        return
    language = next((one for one in ("english", *facts.languages) if one in (*facts.languages, "english")), "auto")

    def line(work_id: str, text: str = TEXT, *, seed: int = 1, by: VoiceSource = voice, **more: float) -> SpeechWork:
        return SpeechWork(id=work_id, text=text, voice=by, seed=seed, language=language, max_seconds=more.get("max_s"))

    [first] = bench.speak(line("first"))
    if not isinstance(first, SpeechDone):
        raise Broken(f"it does not speak: {first.message if isinstance(first, WorkFailed) else 'no speech came.'}")
    sound = bench.waveform("first")
    yield from _sound_holds(sound, first)
    bench.speak(line("again"))
    yield np.array_equal(bench.waveform("again"), sound), "equal requests have equal sounds."
    bench.speak(line("other", seed=2))
    differs = not np.array_equal(bench.waveform("other"), sound)
    if facts.is_seeded:
        yield differs, "another seed makes another take (else `facts` say is_seeded = False)."
    several = [line(f"many-{n}", OTHER_TEXT if n % 2 else TEXT, seed=n + 5) for n in range(5)]
    answers = bench.speak(*several)
    yield all(isinstance(each, SpeechDone) for each in answers) and not bench.twice, "five lines have one answer each."
    nobody, beside = bench.speak(line("nobody", by=PresetVoice(name="nobody-at-all")), line("beside", OTHER_TEXT))
    yield isinstance(nobody, WorkFailed), "an unknown preset is a WorkFailed."
    yield isinstance(beside, SpeechDone), "a line that fails disturbs no other."
    bench.client.submit(line("long", LONG_TEXT))
    bench.client.cancel("long")
    [after] = bench.speak(line("after", OTHER_TEXT, seed=3))
    yield isinstance(after, SpeechDone), "it goes on after a line was cancelled."
    bench.speak(line("capped", LONG_TEXT, max_s=2.0))
    yield bench.waveform("capped").size <= 3.0 * SAMPLE_RATE_HZ, "a line ends at max_seconds."
    if "clone" in facts.abilities:
        yield from _cloning_holds(bench, sound, first, line)


def _facts_hold(facts: EngineFacts) -> Iterator[tuple[bool, str]]:
    named = (facts.engine, facts.engine_version, facts.render_version, facts.model, facts.model_fingerprint)
    yield all(named), "its facts name engine, version, render_version, model and fingerprint."
    unknown = sorted(set(facts.abilities) - ABILITIES)
    yield not unknown, f"its abilities are known ones{': not ' + ', '.join(unknown) if unknown else ''}."
    yield bool(facts.presets) == ("presets" in facts.abilities), 'it has presets exactly if it says "presets".'


def _sound_holds(sound: Waveform, done: SpeechDone) -> Iterator[tuple[bool, str]]:
    is_whole = sound.dtype == np.float32 and sound.ndim == 1 and bool(np.isfinite(sound).all())
    yield is_whole, "its sound is (S,) float32, and finite."
    peak = float(np.abs(sound).max(initial=0.0))
    yield 0.0 < peak <= 1.0, f"its sound is within ±1 (peak {peak:.2f})."
    quality = measure(sound, text=TEXT)
    failed = f"; gates that fail: {', '.join(quality.failed)}" if quality.failed else ""
    yield quality.usable, f"a sentence is {sound.size / SAMPLE_RATE_HZ:.1f} s of speech{failed}."
    is_ended = done.finish_reason == "eos"
    yield is_ended, f"""it ends with "eos"{"" if is_ended else f', not "{done.finish_reason}"'}."""
    yield done.seed == 1, "it names the seed that it was given."


def _voice_of(facts: EngineFacts) -> VoiceSource | None:
    if facts.presets:
        return PresetVoice(name=facts.presets[0])
    return DescribedVoice(description="A clear adult voice.") if "design" in facts.abilities else None


def _cloning_holds(bench: _Bench, sound: Waveform, spoken: SpeechDone, line: MakeLine) -> Iterator[tuple[bool, str]]:
    """A recording becomes a prompt, and the prompt a voice: the engine's own speech is the recording."""
    bench.client.submit(LockWork(id="lock", transcript=TEXT, waveform=sound, design_state=spoken.design_state))
    bench.until(["lock"])
    locked = bench.answers["lock"]
    yield isinstance(locked, LockDone), "a recording and its words become a prompt."
    if not isinstance(locked, LockDone):
        return
    digest = hashlib.sha256(locked.prompt).hexdigest()
    [answer] = bench.speak(line("cloned", OTHER_TEXT, by=LockedVoice(prompt=locked.prompt, prompt_sha256=digest)))
    yield isinstance(answer, SpeechDone) and bench.waveform("cloned").size > 0, "it speaks with that prompt."
