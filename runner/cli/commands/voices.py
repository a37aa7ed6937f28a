"""`voicejobs voices`: locked voices listed, compared, moved, removed and checked."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.completion import voice_names
from runner.cli.console import (
    Command,
    LazyGroup,
    NamedPath,
    current_instance,
    echo,
    json_option,
    reachable,
    say,
    show,
    terminal_table,
    to_json,
)
from runner.errors import UsageProblem
from runner.exit_codes import FAILED, OK
from runner.text_format import ago, counted, short, size, when

if TYPE_CHECKING:
    from registry.registry import Registry
    from registry.voices.values import Version, VersionDiff, VoiceSummary

DIGEST_SHOWN = 13  # twelve digits and an ellipsis
ELSEWHERE = {
    "lock": ("runner.cli.commands.auditions:lock", "Lock a candidate of a design job as a version of a voice."),
    "check": (
        "runner.cli.commands.voice_check:check",
        "Speak the audition of a version again, and compare it with the stored one.",
    ),
    "export": ("runner.cli.commands.exchange:export_voice", "Write a voice to a .vox file."),
    "import": (
        "runner.cli.commands.exchange:import_voice",
        "Import voices from .vox files, clone prompts, speaker profiles or a folder.",
    ),
}


@click.group(
    cls=LazyGroup,
    table=ELSEWHERE,
    examples=("voicejobs voices list", "voicejobs voices show elena@2", "voicejobs voices alias elena@1 current"),
)
def voices() -> None:
    """Lock, list, compare, import, export and tidy voices."""


def _registry(*, reads_only: bool = False) -> Registry:
    from registry.registry import open_registry

    instance = current_instance()
    return open_registry(instance.state_dir, root=instance.root, reads_only=reads_only)


def _reference(voice: str) -> str:
    """Reference in which a preset's bare name means the preset, as in jobs."""
    from registry.voices.names import PRESET_PREFIX, name_key
    from runner.names import PRESET_NAMES

    return f"{PRESET_PREFIX}{voice}" if name_key(voice) in PRESET_NAMES else voice


# ---- reading -----------------------------------------------------------------------------------------------------


@voices.command("list", cls=Command, examples=("voicejobs voices list", "voicejobs voices list --containing el --json"))
@click.option("--containing", default="", metavar="TEXT", help="Only voices with TEXT in their name.")
@click.option("--after", default="", metavar="NAME", help="Start after this name.")
@click.option("-n", "--limit", default=50, show_default=True, type=click.IntRange(1, 1_000_000), help="How many.")
@json_option
def list_(containing: str, after: str, limit: int, as_json: bool) -> None:
    """List locked voices by name, with their current version."""
    with _registry(reads_only=True) as registry:
        found = registry.voices(containing=containing, after=after, limit=limit)
    if not found and not as_json:
        none = f"no voice has {containing!r} in its name" if containing else "no locked voices"
        say(f"{none}; presets such as ryan need no lock")
        return
    show(found, as_json=as_json, text=_list_text)
    if len(found) == limit and not as_json:
        say(f"more: `voicejobs voices list --after {found[-1].name}`")


def _list_text(found: list[VoiceSummary]) -> str:
    rows = [
        (
            voice.name,
            f"@{voice.current}" if voice.current is not None else "-",
            f"@{voice.newest}",
            str(voice.versions),
            ago(voice.changed_s, now_s=time.time()),
            voice.language or "-",
            voice.model or "-",
            short(voice.description, 160),
        )
        for voice in found
    ]
    return terminal_table(("VOICE", "CURRENT", "NEWEST", "VERSIONS", "AGE", "LANGUAGE", "MODEL", "DESCRIPTION"), rows)


@voices.command(
    "show",
    cls=Command,
    examples=(
        "voicejobs voices show elena",
        "voicejobs voices show elena@2 --json",
        "voicejobs voices show elena@warm",
    ),
)
@click.argument("voice", shell_complete=voice_names)
@json_option
def show_(voice: str, as_json: bool) -> None:
    """Show one version of a voice: its origin and its parts."""
    with _registry(reads_only=True) as registry:
        version = registry.show(_reference(voice), removed=True)
        aliases = [alias.name for alias in registry.aliases(version.voice) if alias.number == version.number]
    if as_json:
        echo(to_json({**_version_json(version), "aliases": aliases}))
    else:
        echo(_version_text(version, aliases))


def _version_json(version: Version) -> dict[str, Any]:
    import dataclasses

    from runner.outbox.receipt import iso

    values = {field.name: getattr(version, field.name) for field in dataclasses.fields(version) if field.name != "id"}
    embedding = values.pop("speaker_embedding")
    values["digest"] = f"sha256:{version.digest}"  # as in receipts and references
    values["created_at"], values["removed_at"] = iso(version.created_s), iso(version.deleted_s)
    return {"name": version.name, **values, "speaker_embedding_size": len(embedding) if embedding else None}


def _version_text(version: Version, aliases: list[str]) -> str:
    model, by = version.model, version.provenance.get("transcript")
    facts = [
        ("voice", version.name + (f" ({', '.join(aliases)})" if aliases else "")),
        ("digest", f"sha256:{version.digest}"),
        ("made", f"{when(version.created_s)} by {version.origin}, job {version.made_by_job or '-'}"),
        ("parent", f"{version.voice}@{version.parent}" if version.parent is not None else "-"),
        ("model", f"{model.model} ({model.engine} {model.engine_version})"),
        ("language", version.language),
        *([("consent", version.consent)] if "candidate" not in version.provenance else []),
        ("reference", f"{version.reference_duration_s:.1f} s" if version.reference_duration_s else "none"),
        ("transcript", short(version.transcript, 90)),
        *([("", f"heard by {by['heard_by']}, confidence {by['confidence']:.2f}; read by nobody")] if by else []),
        ("description", short(version.description, 90) or "-"),
    ]
    if version.deleted_s is not None:
        facts.append(("removed", f"{when(version.deleted_s)} {version.deleted_why or ''}".strip()))
    if version.purged_s is not None:
        facts.append(("purged", f"{when(version.purged_s)}, its recordings and prompt are gone"))
    return "\n".join(f"{name:<12} {value}" for name, value in facts)


@voices.command("history", cls=Command, examples=("voicejobs voices history elena",))
@click.argument("voice", shell_complete=voice_names)
@click.option("-n", "--limit", default=50, show_default=True, type=click.IntRange(1, 1_000_000), help="How many.")
@json_option
def history(voice: str, limit: int, as_json: bool) -> None:
    """List all versions of VOICE, newest first, and how its aliases moved."""
    with _registry(reads_only=True) as registry:
        versions = registry.history(voice, limit=limit)
        moves = registry.alias_log(voice, limit=limit)
    if as_json:
        echo(to_json({"versions": [_version_json(version) for version in versions], "alias_log": moves}))
        return
    rows = [
        (
            version.name,
            when(version.created_s),
            version.origin,
            version.made_by_job or "-",
            short(version.model.model, 30),
            "purged" if version.purged_s is not None else "removed" if version.deleted_s is not None else "",
        )
        for version in versions
    ]
    echo(terminal_table(("VERSION", "MADE", "BY", "JOB", "MODEL", ""), rows))
    for move in moves:
        said = f"{_at(move.from_number)} → {_at(move.to_number)}"
        echo(f"{when(move.moved_s)}  {move.name}: {said}  {move.why}")


def _at(number: int | None) -> str:
    return f"@{number}" if number is not None else "none"


@voices.command("diff", cls=Command, examples=("voicejobs voices diff elena@1 elena@2",))
@click.argument("before", shell_complete=voice_names)
@click.argument("after", shell_complete=voice_names)
@json_option
def diff(before: str, after: str, as_json: bool) -> None:
    """Show what changed from one version to another, and how similar their speakers are."""
    with _registry(reads_only=True) as registry:
        found = registry.diff(before, after)
    show(found, as_json=as_json, text=_diff_text)


def _diff_text(found: VersionDiff) -> str:
    cosine = [] if found.speaker_cosine is None else [f"cosine of the speakers: {found.speaker_cosine:.4f}"]
    changes = [f"{c.field}: {_value_text(c.field, c.before)} → {_value_text(c.field, c.after)}" for c in found.changes]
    return "\n".join([f"{found.before} → {found.after}", *cosine, *(changes or ["no difference"])])


def _value_text(field: str, value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return short(str(value), DIGEST_SHOWN if field == "digest" or field.endswith("_sha256") else 60)


# ---- changing ----------------------------------------------------------------------------------------------------


@voices.command(
    "alias",
    cls=Command,
    examples=(
        "voicejobs voices alias elena                  # lists its aliases",
        "voicejobs voices alias elena@2 current        # moves or creates an alias",
        "voicejobs voices alias elena warm --remove",
    ),
)
@click.argument("voice", shell_complete=voice_names)
@click.argument("alias", required=False)
@click.option("--remove", is_flag=True, help="Remove the alias.")
@json_option
def alias(voice: str, alias: str | None, remove: bool, as_json: bool) -> None:
    """Show the aliases of a voice, or make ALIAS point to a version."""
    if remove and alias is None:
        raise UsageProblem("--remove needs an alias.")
    with _registry() as registry:
        if alias is not None and remove:
            registry.remove_alias(voice, alias, now_s=time.time())
            say(f"removed the alias {alias}")
        elif alias is not None:
            version = registry.set_alias(voice, alias, now_s=time.time())
            say(f"{alias} is now {version.name}")
        name = voice.partition("@")[0]
        found = registry.aliases(name)
    if alias is None or as_json:
        rows = [(item.name, f"@{item.number}", when(item.moved_s)) for item in found]
        show(found, as_json=as_json, text=lambda _: terminal_table(("ALIAS", "VERSION", "MOVED"), rows))


@voices.command(
    "rm", cls=Command, examples=("voicejobs voices rm elena@1 --why 'wrong accent'", "voicejobs voices rm elena --all")
)
@click.argument("voice", shell_complete=voice_names)
@click.option("--all", "every", is_flag=True, help="All versions of the voice.")
@click.option("--why", default="", metavar="TEXT", help="Reason, kept with the tombstone.")
def rm(voice: str, every: bool, why: str) -> None:
    """Remove a version, unless an alias or an unfinished job needs it.

    A removed version can be brought back with `voices restore` until `voices gc` has purged it.
    """
    if not every and "@" not in voice:
        raise UsageProblem(f"{voice!r} names no version.", hint=f"Write {voice}@N, or use --all.")
    with _registry() as registry:
        if every:
            removed = registry.remove_voice(voice, now_s=time.time(), why=why)
        else:
            removed = [registry.remove(voice, now_s=time.time(), why=why)]
    say(f"removed {', '.join(version.name for version in removed)}")


@voices.command("restore", cls=Command, examples=("voicejobs voices restore elena@1",))
@click.argument("version", shell_complete=voice_names)
def restore(version: str) -> None:
    """Bring a removed version back."""
    with _registry() as registry:
        restored = registry.restore_version(version, now_s=time.time())
    say(f"{restored.name} is back")


@voices.command(
    "relock",
    cls=Command,
    examples=(
        "voicejobs voices relock elena --model qwen3-tts-0.6b-base --wait",
        "voicejobs voices relock elena@1 --model qwen3-tts-1.7b-base --set-current",
    ),
)
@click.argument("voice", shell_complete=voice_names)
@click.option("--model", metavar="MODEL", help="Model for the new version; default: that of voicejobs.toml.")
@click.option("--set-current", is_flag=True, help="Move `current` to the new version.")
@click.option("--wait", is_flag=True, help="Wait for the result; runs the instance if no runner is active.")
def relock(voice: str, model: str | None, set_current: bool, wait: bool) -> int:
    """Rebuild a version for another model from its recording, as the next version, by a job."""
    from runner.cli.progress import drop_version
    from runner.names import parse_voice_reference
    from runner.submission.drop_writer import job_from_values

    instance = current_instance()
    with _registry() as registry:
        version = registry.show(_reference(voice))  # an unknown voice fails here, not in a receipt
    values = {"kind": "relock", "voice": version.name, "set_current": set_current}
    name = f"relock-{parse_voice_reference(voice).name}"
    job = job_from_values({**values, **({"model": model} if model else {})}, name=name)
    return drop_version(instance, job, wait=wait)


@voices.command(
    "play", cls=Command, examples=("voicejobs voices play elena", "voicejobs voices play elena@2 -o elena.wav")
)
@click.argument("voice", shell_complete=voice_names)
@click.option(
    "-o", "--output", metavar="FILE.wav", type=NamedPath(to_write=True), help="Write a file instead of playing."
)
def play(voice: str, output: Path | None) -> None:
    """Play the audition of a version, or the recording that it was locked from."""
    from models.audio.encoder import encode_audio
    from models.audio.files import decode_audio
    from registry.errors import NotFound
    from runner.cli.player import play_wav
    from runner.output_files import write_target

    with _registry(reads_only=True) as registry:
        version = registry.show(_reference(voice))
        sha256 = version.audition_sha256 or version.reference_sha256
        if sha256 is None:
            hint = f"Speak with it: `voicejobs say -v {shlex.quote(voice)} hello`"
            raise NotFound(f"{version.name} has no recording.", hint=hint)
        waveform, _ = decode_audio(registry.objects.read(sha256), name=f"the recording of {version.name}")
    wav = encode_audio(waveform)
    if output is not None:
        write_target(output, wav)
    else:
        play_wav(wav)


# ---- tidying up --------------------------------------------------------------------------------------------------


@voices.command("gc", cls=Command, examples=("voicejobs voices gc --dry-run", "voicejobs voices gc --grace-days 0"))
@click.option(
    "--grace-days",
    type=click.FloatRange(min=0),
    help="Days for which removed versions can be brought back; default: 7.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@json_option
def gc(grace_days: float | None, dry_run: bool, as_json: bool) -> None:
    """Purge what is no longer needed: removed versions, old candidates, unused recordings.

    Works while a runner is active.
    """
    grace_s = None if grace_days is None else grace_days * 86_400
    with _registry(reads_only=dry_run) as registry:
        report = registry.gc(now_s=time.time(), grace_s=grace_s, dry_run=dry_run)
    verb = "would free" if dry_run else "freed"
    parts = (
        counted(len(report.purged_versions), "version"),
        counted(report.forgotten_candidates, "candidate"),
        f"{report.removed_objects:,} recordings and prompts",
        counted(report.removed_takes, "take"),
    )
    text = f"{verb} {size(report.freed_bytes)}: {', '.join(parts)}"
    show(report, as_json=as_json, text=lambda _: text)


@voices.command("fsck", cls=Command, examples=("voicejobs voices fsck", "voicejobs voices fsck --json"))
@json_option
def fsck(as_json: bool) -> int:
    """Read and hash everything in the registry, and change nothing.

    Exit code 1 when something is lost that cannot be made again.
    """
    with _registry(reads_only=True) as registry:
        report = registry.fsck()
    if as_json:
        echo(to_json(report))
    else:
        for finding in report.findings:
            echo(reachable(f"{finding.where}: {finding.problem}\n  {finding.remedy}"))
        versions, takes = counted(report.versions, "version"), counted(report.takes, "take")
        verdict = "sound" if report.sound else f"{counted(report.lost, 'thing')} lost"
        say(
            f"{verdict}: {versions}, {report.objects:,} recordings and prompts, {takes}, {size(report.read_bytes)} read"
        )
    return OK if report.sound else FAILED
