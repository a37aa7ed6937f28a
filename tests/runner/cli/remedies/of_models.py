"""Remedies of messages about models, each with the state that prints it; a hub on loopback has every model."""

import json
import os
import shutil
from pathlib import Path

from registry.durable_files import CRASH_EXIT_STATUS
from runner.config.printed_commands import with_flags
from runner.doctor import engine_checks
from runner.exit_codes import FAILED, OK, USAGE
from tests.forked import Forked
from tests.models.store.making import CACHES, CUSTOM, DESIGN, slug, speech_model
from tests.patience import PATIENCE_S
from tests.reference import REFERENCE
from tests.runner.cli.remedies.place import Place, Remedy

COMMANDS, PREPARE, CHECKS = "runner/cli/commands/models.py", "models/fetch/prepare.py", "runner/doctor/model_checks.py"
ENGINE_CHECKS, UPKEEP = "runner/doctor/engine_checks.py", "models/store/upkeep.py"
NAME = "qwen3-tts-0.6b-customvoice"
LINE = f'kind = "synthesize"\nmodel = "{NAME}"\nvoice = "preset:ryan"\ntext = "Hello."\n'
PATH = f"models path {NAME}"


def online(place: Place) -> None:
    place.online()


def without_models(place: Place) -> None:
    shutil.rmtree(place.root / "models")
    place.online()


def with_a_part_of_a_model(place: Place) -> Path:
    place.online()
    folder = speech_model(place.root / "models" / slug(CUSTOM), kind="custom_voice")
    (folder / "merges.txt").unlink()
    return folder


def spoken_with_a_part_of_a_model(place: Place) -> None:
    with_a_part_of_a_model(place)
    place.set(offline=True)
    place.did(partly=LINE)


def with_an_interrupted_download(place: Place) -> None:
    place.online()
    place.hub.break_after["model.safetensors"] = [100] * 20
    place.type(f"models pull {NAME}")
    place.hub.break_after.clear()


def with_an_interrupted_move(place: Place) -> None:
    with_a_legacy_model(place)
    with_it = {**os.environ, "VOICEJOBS_CRASH_AT": "models.rename.renamed"}
    moving = Forked(["--root", place.root, "models", "migrate"], environment=with_it)
    assert moving.wait(PATIENCE_S) == CRASH_EXIT_STATUS


def with_a_legacy_model(place: Place) -> None:
    speech_model(place.root.parent / CACHES / "TTS" / slug(DESIGN), kind="voice_design")


def with_a_model_of_tomorrow(place: Place) -> None:
    folder = place.root / "models" / slug(CUSTOM)
    shutil.copytree(REFERENCE / "custom_voice", folder)
    config = json.loads((folder / "config.json").read_text())
    config["talker_config"]["hologram"] = 1
    (folder / "config.json").write_text(json.dumps(config))


def as_the_model_of_the_instance(place: Place) -> None:
    place.set(model=NAME)


def speaks(place: Place) -> str:
    """The one check of the doctor that the message is from; the others take half a minute."""
    text = "\n".join(f"{said} {remedy}" for _, said, remedy in engine_checks._model_speaks(place.instance))
    return with_flags(text, ("--root", str(place.root)))


def is_offered(place: Place) -> None:
    """The hub has the model that an offline instance lacked."""
    place.online()
    place.hub.add_folder("acme/broken", place.elsewhere / "published" / "custom_voice")
    shutil.rmtree(place.root / "models" / "acme_broken")


REMEDIES = [
    Remedy(COMMANDS, "models pull {choice.id}", PATH, online),
    Remedy(COMMANDS, "models pull NAME", "models pull", online, USAGE, fill={"NAME": NAME}, then=PATH),
    Remedy(COMMANDS, "models pull --for {','.join(ABILITIES)}", "models pull", online, USAGE, then="models path"),
    Remedy(COMMANDS, "models list --all", "models list", without_models, OK, tells=NAME),
    Remedy(
        "runner/cli/quantize_run.py", "models pull {choice.id}", f"models quantize {NAME} --bits 4", online, then=PATH,
    ),
    Remedy(
        ENGINE_CHECKS, "models pull {shlex.quote(trial.model)}", speaks, as_the_model_of_the_instance, also=online,
    ),
    Remedy(CHECKS, "models list --all", "doctor", without_models, OK, tells=NAME),
    Remedy(CHECKS, "models pull NAME", "doctor", without_models, OK, fill={"NAME": NAME}, then=PATH),
    Remedy(CHECKS, "models migrate", "doctor", with_an_interrupted_move, FAILED),
    Remedy(CHECKS, "models migrate --dry-run", "doctor", with_a_legacy_model, OK, tells=slug(DESIGN)),
    Remedy(
        "models/checkpoint_format/config.py", "models list --all", "doctor", with_a_model_of_tomorrow, FAILED,
        tells=NAME,
    ),
    Remedy(
        PREPARE, "models pull {shlex.quote(model_id)}", "jobs show partly", spoken_with_a_part_of_a_model, OK,
        also=online, then=PATH,
    ),
    Remedy(
        PREPARE, "models pull {self.choice.id}", "jobs show waits", code=OK, also=is_offered,
        then="models path acme/broken",
    ),
    Remedy("models/store/installed.py", "models list --all", "models path qwen4", without_models, tells=NAME),
    Remedy(UPKEEP, "models pull {shlex.quote(model.id)}", "doctor", with_a_part_of_a_model, FAILED),
    Remedy(UPKEEP, "models pull {choice.id}", f"models verify {NAME}", online),
]  # fmt: skip
SLOW = [
    Remedy(CHECKS, "models pull {name}", "doctor", with_an_interrupted_download, FAILED),
    Remedy(CHECKS, "models rm {name}", "doctor", with_an_interrupted_download, FAILED),
]
