"""Remedies of messages about voices, each with the state that prints it."""

import json
import shutil
from dataclasses import replace

from registry.errors import VoiceJobsError
from registry.registry import open_registry
from registry.voices.lookup import living_with_digest, resolve
from registry.voices.values import NewVersion
from registry.voices.versions import add_version
from runner.exit_codes import FAILED, OK
from tests.broken_instances import HELLO
from tests.models.store.making import BASE, slug
from tests.models.voices.vox_making import SEED_PATH, a_manifest, a_swift_prompt, a_wav, an_archive
from tests.reference import REFERENCE
from tests.runner.cli.remedies.place import Place, Remedy, nothing_more
from tests.runner.worker.bench import MODEL

ERRORS, LOOKUP, TOMBSTONES = "registry/voices/errors.py", "registry/voices/lookup.py", "registry/voices/tombstones.py"
COMMANDS = "runner/cli/commands/voices.py"
OTHER_MODEL = "qwen3-tts-0.6b-base"


def with_two_voices(place: Place) -> None:
    place.did(second='kind = "lock"\nvoice = "vera"\nfrom = { job = "elena-design", candidate = 1 }\n')


def with_two_versions(place: Place) -> None:
    place.did(second='kind = "lock"\nvoice = "elena"\nfrom = { job = "elena-design", candidate = 1 }\n')


def without_a_version(place: Place) -> None:
    with_two_versions(place)
    assert place.type("voices rm elena@1").code == OK


def with_a_bare_prompt(place: Place) -> None:
    """A prompt came alone: there is no recording to hear or to lock again."""
    (place.elsewhere / "bare.cloneprompt").write_bytes(a_swift_prompt(text="Words.").to_bytes())
    place.type("voices import bare.cloneprompt")
    place.drain()


def with_a_prompt_of_the_draft_engine(place: Place) -> None:
    with open_registry(place.state_dir, root=place.root) as registry, registry.db.write() as session:
        version = resolve(session, "elena@1")
        fields = {name: getattr(version, name) for name in NewVersion.__dataclass_fields__ if hasattr(version, name)}
        bare = replace(NewVersion(**fields), voice="bare", idempotency_key="bare")
        add_version(session, replace(bare, audition_sha256=None, reference_sha256=None), now_s=1.0)


def with_a_changed_version(place: Place) -> None:
    """What is stored of a version no longer gives the digest that its users name."""
    place.execute("DROP TRIGGER version_is_immutable", "UPDATE version SET transcript = 'Other words.'")


def named_by_its_digest(place: Place) -> str:
    return place.type(f"voices export elena@sha256:{digest(place)} -o e.vox").text


def named_by_too_few_digits(place: Place) -> str:
    """What the server says of a digest's first digits that are those of two versions."""
    with_two_voices(place)
    start = digest(place)[:8]
    change = f"UPDATE version SET digest = '{start}{'0' * 56}' WHERE id = 2"
    place.execute("DROP TRIGGER version_is_immutable", change)
    with open_registry(place.state_dir, root=place.root) as registry, registry.db.read() as snapshot:
        try:
            living_with_digest(snapshot, start)
        except VoiceJobsError as error:
            return place.text_of(error)
    return ""


def digest(place: Place) -> str:
    shown = json.loads(place.type("voices show elena@1 --json").text)
    return str(shown["digest"]).removeprefix("sha256:")


def with_a_sample_without_words(place: Place) -> None:
    content = an_archive(a_manifest(vox_version="0.1.0"), **{SEED_PATH: a_wav(30)})
    (place.elsewhere / "sample.vox").write_bytes(content)
    place.set(model=MODEL)


def spoken_with_another_model(place: Place) -> None:
    shutil.copytree(REFERENCE / "base", place.root / "models" / slug(BASE))
    place.did(other=HELLO + f'model = "{OTHER_MODEL}"\n')


def speak_it_again(place: Place) -> None:
    place.did(again2=HELLO.replace("elena", "elena@2") + f'model = "{OTHER_MODEL}"\n')
    assert "done" in place.type("jobs show again2").text


REMEDIES = [
    Remedy(
        COMMANDS, "voices list --after {found[-1].name}", "voices list --limit 1", with_two_voices, OK, tells="vera",
    ),
    Remedy(COMMANDS, "say -v {shlex.quote(voice)} hello", "voices play bare", with_a_prompt_of_the_draft_engine,
           then=nothing_more),
    Remedy(
        "runner/exchange/exporter.py", "voices import FILE --voice {version.voice} --consent self",
        "voices export bare -o bare.vox", with_a_bare_prompt, fill={"FILE": "bare.cloneprompt"},
    ),
    Remedy(
        "runner/exchange/voice_import.py", 'voices import FILE --transcript "…"', "voices import sample.vox",
        with_a_sample_without_words, FAILED, fill={"FILE": "sample.vox", "…": "All that is said in it. " * 16},
        then="voices show ELENA",
    ),
    Remedy(ERRORS, "voices list", "voices show elen", tells="elena"),
    Remedy(ERRORS, "voices history {voice}", "voices show elena@7", tells="elena@1"),
    Remedy(ERRORS, "voices alias {voice}@N {wanted}", "voices show elena@warm", fill={"@N": "@1"}),
    Remedy(LOOKUP, "voices restore {version.name}", "voices export elena@1 -o e.vox", without_a_version),
    Remedy(
        LOOKUP, "voices fsck", named_by_its_digest, with_a_changed_version, answers=FAILED, tells="elena@1",
    ),
    Remedy(LOOKUP, "voices show NAME", named_by_too_few_digits, fill={"NAME": "elena"}, tells="sha256:"),
    Remedy(
        LOOKUP, "say -v {reference.name} TEXT", "voices show ryan", fill={"TEXT": "Hello."}, then=nothing_more,
    ),
    Remedy(
        TOMBSTONES, "voices alias {version.voice}@N {holding[0]}", "voices rm elena@2", with_two_versions,
        fill={"@N": "@1"},
    ),
    Remedy(
        TOMBSTONES, "voices alias {version.voice} {holding[0]} --remove", "voices rm elena@2", with_two_versions,
    ),
]  # fmt: skip
SLOW = [
    Remedy(
        "runner/scheduling/voice_resolution.py",
        "voices relock {name} --model {shlex.quote(sibling)}",
        "jobs show other",
        spoken_with_another_model,
        OK,
        then=speak_it_again,
    ),
]
