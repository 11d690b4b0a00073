"""The command line as tests read it: its commands, their help as a page, and whether a command line would be taken."""

from __future__ import annotations

import inspect
import re
import shlex
from typing import TYPE_CHECKING, Any

import typer

from heliograph.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Any = typer.main.get_command(app)
COMPLETION = {"install_completion", "show_completion"}


def walk(command: Any = ROOT, path: tuple[str, ...] = ("heliograph",)) -> Iterator[tuple[str, Any]]:
    """Every command with the words that call it, groups before their members."""
    yield " ".join(path), command
    for name, member in getattr(command, "commands", {}).items():
        if member.hidden:  # the program calls itself by it
            continue
        yield from walk(member, (*path, name))


def leaves() -> list[tuple[str, Any]]:
    return [(path, command) for path, command in walk() if not hasattr(command, "commands")]


def page() -> str:
    """All commands, as docs/cli.md shows them."""
    parts = [
        "# The command line",
        "Made from the program's own help. `heliograph --install-completion` makes your shell complete all of it.",
    ]
    for path, command in walk():
        parts += [
            f"{'##' if hasattr(command, 'commands') else '###'} {path}",
            _markdown(command.help),
            _usage(path, command),
        ]
        parts += filter(None, [_parameters(command), _members(command), _markdown(command.epilog)])
    return "\n\n".join(parts) + "\n"


def _markdown(text: str | None) -> str:
    text = re.sub(r"\[/?bold\]", "**", inspect.cleandoc(text or ""))
    # In a page, an example is a block of its own.
    return re.sub(r"^(Examples?): (.+(?:\n.+)*)", _example, text, flags=re.MULTILINE)


def _example(found: re.Match[str]) -> str:
    lines = [line.strip(" ;*") for line in re.split(r";\s+", re.sub(r"\s*\n\s*", " ", found[2]))]
    return "\n".join([f"{found[1]}:", "", "```sh", *(line.replace("**", "") for line in lines), "```"])


def _usage(path: str, command: Any) -> str:
    words = command.collect_usage_pieces(typer.Context(command))
    return f"```text\n{' '.join([path, *words])}\n```"


def _parameters(command: Any) -> str:
    records = [
        parameter.get_help_record(typer.Context(command))
        for parameter in command.params
        if parameter.name not in COMPLETION
    ]
    rows = [f"| `{_cell(name)}` | {_cell(said)} |" for name, said in records]
    return "\n".join(["| | |", "| --- | --- |", *rows]) if rows else ""


def _cell(text: str) -> str:
    return re.sub(r"\[/?bold\]", "**", " ".join(text.split())).replace("|", r"\|")


def _members(command: Any) -> str:
    members = getattr(command, "commands", {})
    rows = [
        f"| `{name}` | {_cell(inspect.cleandoc(member.help).split(chr(10) * 2)[0])} |"
        for name, member in members.items()
    ]
    return "\n".join(["| command | |", "| --- | --- |", *rows]) if rows else ""


def problems_of(line: str) -> list[str]:
    """Whatever is wrong with a command line that a document shows; what it would do is not looked at."""
    words = shlex.split(re.split(r" [>|] ", line, maxsplit=1)[0], comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    assert words[0] == "heliograph", line
    command, words = ROOT, words[1:]
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            name, equals, _ = word.partition("=")
            option = next((each for each in command.params if name in (*each.opts, *each.secondary_opts)), None)
            if name == "--help":
                continue
            if option is None:
                return [f"{line}: no option {name}"]
            if not equals and not getattr(option, "is_flag", False) and words:
                words.pop(0)
        elif hasattr(command, "commands"):
            if word not in command.commands:
                return [f"{line}: no command {word}"]
            command = command.commands[word]
        elif not any(parameter.param_type_name == "argument" for parameter in command.params):
            return [f"{line}: takes no argument {word}"]
    return []
