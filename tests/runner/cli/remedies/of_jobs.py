"""Remedies of messages about jobs, each with the state that prints it."""

import shutil

from runner.exit_codes import FAILED, OK, USAGE
from tests.broken_instances import FAILING, HELLO
from tests.runner.cli.remedies.place import Place, Remedy

AUDITIONS, ADMISSION, ERRORS = "runner/cli/commands/auditions.py", "runner/scheduling/admission.py", "runner/errors.py"
SCENE = "[[lines]]\ntext = 'One.'\n[[lines]]\ntext = 'Two.'\n"
LOCK_OF = 'kind = "lock"\nvoice = "new"\nfrom = {{ job = "{job}", candidate = {candidate} }}\n'
MASTER_OF = 'kind = "master"\nfrom = ["{job}"]\nformats = ["wav"]\npreset = "none"\n'


def without_files(place: Place) -> None:
    shutil.rmtree(place.root / "outbox" / "hello")


def with_a_table(place: Place) -> None:
    (place.root / "my lines.csv").write_text("id,text,voice\none,Good evening.,preset:ryan\n")


def without_sound(place: Place) -> None:
    for path in (place.root / "outbox" / "hello").glob("*.wav"):
        path.unlink()


def without_sound_and_takes(place: Place) -> None:
    without_sound(place)
    shutil.rmtree(place.state_dir / "takes")
    place.did(book=MASTER_OF.format(job="hello"))


def with_a_needed_job_that_fails(place: Place) -> None:
    folder = place.root / "inbox" / "bad"
    folder.mkdir()
    (folder / "job.toml").write_text(FAILING)
    (folder / "noise.wav").write_bytes(b"noise")
    place.did(needs=HELLO.replace("elena", "other"))


def with_an_id_taken(place: Place) -> None:
    place.did(one=f'id = "one"\n{HELLO}')
    place.did(two=f'id = "one"\n{HELLO}seed = 7\n')


def drop_again(place: Place) -> None:
    place.drop("three.toml", f'id = "one"\n{HELLO}seed = 7\n')
    assert place.drain() == OK


def with_noise_for_a_receipt(place: Place) -> None:
    (place.root / "outbox" / "hello" / "result.json").write_bytes(b"noise")


def without_its_receipt(place: Place) -> None:
    (place.root / "outbox" / "hello" / "result.json").rename(place.root / "outbox" / "hello" / "result.json.moved")


def with_files_to_be_made_again(place: Place) -> None:
    without_files(place)
    place.type("jobs retry hello")


def with_a_job_that_waits(place: Place) -> None:
    """One that no runner has gone on with since it was asked to try again."""
    place.type("jobs retry waits")


REMEDIES = [
    Remedy(AUDITIONS, "jobs show {job.name}", "jobs play hello 7", tells="hello", then="jobs play hello 1"),
    Remedy(AUDITIONS, "jobs retry {found.name}", "jobs play hello", without_sound),
    Remedy(AUDITIONS, "jobs retry {found.name}", "jobs open hello", without_files, then="jobs play hello"),
    Remedy(
        "runner/cli/console.py", "run", "jobs retry hello", without_files, code=OK,
        then=lambda place: place.type("jobs play hello"),
    ),
    Remedy("runner/cli/commands/submit.py", "submit --help", "submit", code=USAGE, tells="--lines"),
    Remedy(
        "runner/cli/commands/submit.py", "submit --lines {shlex.quote(file)}", "submit '{root}/my lines.csv'",
        with_a_table, code=USAGE, tells="lines",
    ),
    Remedy(
        ERRORS, "check FILE", "jobs show refused", code=OK, fill={"FILE": "{root}/outbox/refused/refused.toml"},
        answers=FAILED, tells="did you mean 'design'",
    ),
    Remedy(
        ERRORS, "jobs show {job_name}", "jobs show needs", with_a_needed_job_that_fails, code=OK,
        tells="noise.wav is a text file",
    ),
    Remedy(ERRORS, "jobs rm {holder}", "jobs show two", with_an_id_taken, code=OK, then=drop_again),
    Remedy(
        ADMISSION, "jobs list", "jobs show wrong", code=OK, tells="elena-design",
        state=lambda place: place.did(wrong=LOCK_OF.format(job="elena", candidate=1)),
    ),
    Remedy(
        ADMISSION, "jobs show {design.name}", "jobs show wrong", code=OK, tells="candidate-1",
        state=lambda place: place.did(wrong=LOCK_OF.format(job="elena-design", candidate=9)),
    ),
    Remedy(
        "runner/doctor/outbox_checks.py", "jobs retry {job.name}", "doctor", with_noise_for_a_receipt, code=FAILED,
        also=without_its_receipt,
    ),
    Remedy("registry/jobs/jobs.py", "jobs list", "jobs show helo", tells="hello"),
    Remedy(
        "registry/jobs/requests.py", "jobs cancel {blocking}", "jobs rm waits", with_a_job_that_waits,
    ),
    Remedy("registry/jobs/requests.py", "run", "jobs rm hello", with_files_to_be_made_again),
    Remedy(
        "runner/submission/checked_script.py", "check {name}", "script check {root}/outbox/hello/hello.toml",
        code=USAGE, tells="ok",
    ),
    Remedy(
        "runner/worker/books/master_sources.py", "jobs retry {source.name}", "jobs show book",
        without_sound_and_takes, code=OK, also=without_files, then=lambda place: place.type("jobs play hello"),
    ),
]  # fmt: skip
