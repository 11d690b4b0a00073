"""Makes the README's pictures from a real run of the demonstration: ``make pictures``."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from heliograph.cli import app
from heliograph.cli.common import out
from heliograph.demo.report import loss_account
from heliograph.demo.run import Demonstration, Figures, Options

FOLDER = Path(__file__).resolve().parent / "pictures"
QUESTION = ["ask", "stickiest", "--top", "3"]


def prompt(command: str) -> None:
    """Print a command as if it had been typed."""
    out.print(Text(f"$ {command}\n", style="bold green"))


def save(name: str) -> None:
    """Write what was printed since the last picture as ``NAME.svg``."""
    svg = out.export_svg(title="heliograph", unique_id=name)
    # A picture in a page may load nothing, so that its font is one of the reader's system.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")


def main() -> None:
    """Run the demonstration, and take its pictures."""
    out.record, out.width = True, 96
    with tempfile.TemporaryDirectory() as folder:
        home, file = Path(folder) / "home", Path(folder) / "figures.json"
        Demonstration(Options(home=home, once=True, json_file=file, seed=7), Console(quiet=True)).run()
        prompt(f"heliograph {' '.join(QUESTION)}")
        app(["--config", str(home / "live" / "vendor.toml"), *QUESTION], standalone_mode=False)
        save("answer")
        prompt("make demo ARGS=--once")
        out.print(loss_account(msgspec.json.decode(file.read_bytes(), type=Figures)))
        save("account")


if __name__ == "__main__":
    main()
