"""Remedies of messages about the server and services, each with the state that prints it."""

import html
import json
import re
import shlex
import subprocess
import sys

from runner.exit_codes import FAILED, OK
from tests.broken_instances import BROKEN
from tests.patience import wait_until
from tests.printed_commands import ROOT
from tests.runner.cli.remedies.place import Place, Remedy, Said
from tests.runner.serve.served import Served, page, text_of

ERRORS, SUPERVISOR = "runner/serve/errors.py", "runner/services/supervisor.py"
SPEECH = json.dumps({"input": "Hello.", "voice": "elena", "response_format": "wav"})


class Serving(Served):
    """The server of an instance that is there already."""

    def __init__(self, place: Place) -> None:
        self.root, self.port, self.wyoming_port = place.root, None, None
        self.server = self.runner = None
        self.output = place.elsewhere / "serve.log"
        place.at_the_end.callback(self.stop)


def asked_to_speak(place: Place) -> str:
    """What the server answers to a client who wants speech."""
    answer = place.server.request("POST", "/v1/audio/speech", SPEECH, content_type="application/json")
    return "" if answer.status == 200 else answer.error["message"]


def served(place: Place) -> None:
    place.server = Serving(place).start()


def served_beside_a_full_disk(place: Place) -> None:
    place.set(min_free_bytes=1 << 60)
    served(place)
    place.server.start_runner()


def served_with_lost_objects(place: Place) -> None:
    BROKEN["objects-lost"].by(place.root)
    served(place)


def asked_for_a_recording(place: Place) -> str:
    shown = text_of(page(place.server, "/voices/elena/1/sound"))
    return html.unescape(re.sub(r"<code[^>]*>(voicejobs [^<]+)</code>", r"`\1`", shown))


def in_the_background(place: Place, command: str) -> Said:
    """A command that goes on until it is stopped, beside this process; here for this instance."""
    words = ["--root", str(place.root), *shlex.split(command)]
    if "serve" in words:
        place.server.stop()
        words += ["--port", "0", "--wyoming-port", "0"]
        place.server = Serving(place).start(*words[3:])
    else:
        running = subprocess.Popen([sys.executable, "-m", "runner", *words, "--quiet"], cwd=ROOT)
        place.at_the_end.callback(running.wait)
        place.at_the_end.callback(running.terminate)
    wait_until(place.instance.runner_is_active, what="a runner")
    return Said(OK, "")


def without_supervisor(place: Place) -> None:
    place.patch.setenv("PATH", "/nowhere")


REMEDIES = [
    Remedy("runner/serve/page/sounds.py", "voices fsck", asked_for_a_recording, served_with_lost_objects,
           answers=FAILED, tells="is gone"),
    Remedy(SUPERVISOR, "service install", "service uninstall"),
    Remedy(SUPERVISOR, "service install --serve", "service uninstall --serve"),
    Remedy(SUPERVISOR, "service install --print", "service install", without_supervisor, tells="[Service]"),
]  # fmt: skip
SLOW = [
    Remedy(ERRORS, "run", asked_to_speak, served, by=in_the_background),
    Remedy(ERRORS, "serve --with-runner", asked_to_speak, served, by=in_the_background),
    Remedy("runner/serve/jobs/dropping.py", "doctor", asked_to_speak, served_beside_a_full_disk, answers=FAILED,
           tells="bytes free", by=lambda place, command: place.type(command)),
]  # fmt: skip
