"""`voicejobs doctor`: is this instance, on this machine, fit for work?"""

from __future__ import annotations

import click

from runner.cli.console import Command, current_instance, json_option, terminal_table, to_json
from runner.exit_codes import FAILED, OK
from runner.text_format import counted


@click.command(
    cls=Command,
    examples=(
        "voicejobs doctor",
        "voicejobs doctor --engine      # speaks and computes, too",
        "voicejobs doctor --json",
    ),
)
@click.option("--engine", is_flag=True, help="Start engines as well: do they speak, does MLX compute right?")
@click.option("--list-checks", is_flag=True, help="Say what is checked, and check nothing.")
@click.option("--verbose", is_flag=True, help="Show what is in order, too.")
@json_option
def doctor(engine: bool, list_checks: bool, verbose: bool, as_json: bool) -> int:
    """Check this instance and this machine.

    Every finding names a remedy. Exit code 1 when there is a warning or a problem.
    """
    from runner.doctor.checks import ALWAYS_TOLD, CHECKS, examine
    from runner.doctor.findings import NOTE
    from runner.doctor.findings import OK as GOOD

    if list_checks:
        listed = [{"check": name, "what": what} for name, (what, _) in CHECKS.items()]
        rows = [(item["check"], item["what"]) for item in listed]
        click.echo(to_json(listed) if as_json else terminal_table(("CHECK", "WHAT"), rows))
        return OK
    findings = examine(current_instance(), engine=engine)
    to_mend = [finding for finding in findings if finding.counts]
    if as_json:
        click.echo(to_json({"ok": not to_mend, "findings": findings}))
        return FAILED if to_mend else OK
    for finding in findings:
        if finding.severity == GOOD and not verbose and finding.check not in ALWAYS_TOLD:
            continue
        click.echo(f"{finding.severity:<8} {finding.check}: {finding.message}")
        if finding.remedy and finding.severity != GOOD:
            click.echo(f"{'':<8}   → {finding.remedy}")
    checks = len({finding.check for finding in findings})
    notes = sum(finding.severity == NOTE for finding in findings)
    click.echo(f"{checks} checks: {counted(len(to_mend), 'finding')}, {counted(notes, 'note')}")
    return FAILED if to_mend else OK
