"""`heliograph config`: the settings, shown and begun."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from heliograph.cli.common import fail, read_settings
from heliograph.settings import DEFAULT_FILE, commented_file, masked

app = typer.Typer(no_args_is_help=True, help="Settings: one commented file, and the environment.")


@app.command()
def show(context: typer.Context) -> None:
    """Print the settings in force, as a commented file.

    The environment overrides the file, and the file the defaults. Passwords are masked.

    Example: [bold]HELIOGRAPH_GATEWAY_PORT=9443 heliograph --config vendor.toml config show[/bold]
    """
    sys.stdout.write(commented_file(masked(read_settings(context))))


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")] = Path(DEFAULT_FILE),
) -> None:
    """Write a settings file with every setting at its default, and its meaning.

    Relative paths in it start from its own folder, so that it can be used from anywhere.

    Example: [bold]heliograph config init vendor.toml[/bold]
    """
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(commented_file())
    except FileExistsError:
        fail([f"{file}: is there already. Choose another name, or move it away."], status=1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        fail(
            [f"{file}: cannot be written: {reason}. Choose a file in a folder that you may write to."],
            status=1,
        )
    sys.stdout.write(f"wrote {file}\n")
