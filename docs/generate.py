"""Write the parts of the documents that come from the code: the command line and the table of models.

python docs/generate.py            rewrites docs/command-line.md, and the tables between `<!-- models -->` markers
python docs/generate.py --check    says whether they are up to date
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import claprt.cli
import claprt_export.cli
from claprt_export.checkpoints.variants import VARIANTS

DOCS = Path(__file__).parent
SHARED = {"sounds": "sound options", "model": "model options"}
"""Groups of options that several commands have, with what they are called here."""
MODELS = re.compile(r"(<!-- models -->\n).*?(<!-- /models -->)", re.DOTALL)


def models_table() -> str:
    """A markdown table of the checkpoints that have a name."""
    named = [variant for variant in VARIANTS.values() if variant.layout != "seeded"]
    rows = [f"| `{variant.name}` | {variant.about} | {variant.licence} |" for variant in named]
    return "\n".join(["| name | model | licence |", "|---|---|---|", *rows]) + "\n"


def command_line() -> str:
    """The reference of all commands and their options, as markdown."""
    tool = claprt.cli.parser()
    commands = _commands(tool)
    shared = _groups(next(command for command in commands if command.prog == "claprt classify"))
    parts = ["# Command line", "", "Every command has `--help`; those of `claprt` also have `-q`, `--quiet`.", ""]
    parts += _section(tool, 2, {})
    for command in commands:
        parts += _section(command, 3, {title: shared[title] for title in SHARED})
        for each in _commands(command):
            parts += _section(each, 4, {})
    for title, name in SHARED.items():
        parts += [f"### {name.capitalize()}", "", *_table(title, shared[title])]
    for parser in claprt_export.cli.parsers():
        parts += _section(parser, 2, {})
    return "\n".join(parts).rstrip() + "\n"


def _commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The commands of a command."""
    return [
        command for action in parser._actions if isinstance(action.choices, dict) for command in action.choices.values()
    ]


def _section(parser: argparse.ArgumentParser, level: int, shared: dict[str, list[str]]) -> Iterator[str]:
    """A command: description, usage, its own options, links to shared ones, and its epilog."""
    yield from (f"{'#' * level} {parser.prog}", "", _paragraph(f"{parser.description}"), "")
    yield from ("```text", " ".join(parser.format_usage().removeprefix("usage: ").split()), "```", "")
    links: list[str] = []
    for title, rows in _groups(parser).items():
        own = [row for row in rows if row not in shared.get(title, [])]
        if len(own) < len(rows):
            links.append(f"[{SHARED[title]}](#{SHARED[title].replace(' ', '-')})")
        if own:
            yield from _table(title, own)
    if links:
        yield from (f"Also {' and '.join(links)}.", "")
    if parser.epilog:
        yield from (
            ("```text", parser.epilog.strip(), "```", "") if "\n" in parser.epilog else (_paragraph(parser.epilog), "")
        )


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 128, break_long_words=False, break_on_hyphens=False)


def _groups(parser: argparse.ArgumentParser) -> dict[str, list[str]]:
    """Rows of a command's options by the title of their group."""
    groups = {str(group.title): [_row(parser, action) for action in group._group_actions if _shown(action)]
              for group in parser._action_groups}  # fmt: skip
    return {title: rows for title, rows in groups.items() if rows}


def _table(title: str, rows: list[str]) -> Iterator[str]:
    yield from (f"| {title} | |", "|---|---|", *rows, "")


def _shown(action: argparse.Action) -> bool:
    return (
        action.help != argparse.SUPPRESS and action.dest not in ("help", "quiet") and not isinstance(action.choices, dict)
    )


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """One option or argument: its spellings with its value, and its help."""
    help_text = parser._get_formatter()._expand_help(action)
    value = _value(action)
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    shown = f"{names} `{value}`" if names and value else names or f"`{value}`"
    return f"| {shown} | {help_text} |".replace("|CSV", "\\|CSV")


def _value(action: argparse.Action) -> str:
    """How a value is written; empty for a switch."""
    if action.nargs == 0:
        return ""
    if action.metavar is None and action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    word = str(action.metavar or action.dest.upper())
    return f"{word} ..." if action.nargs in ("+", "*") else f"[{word}]" if action.nargs == "?" else word


def documents() -> dict[Path, str]:
    """Every document that has generated parts, as it should be."""
    models = models_table()
    with_models = {
        path: MODELS.sub(lambda match: match[1] + models + match[2], path.read_text(encoding="utf-8"))
        for path in (DOCS.parent / "README.md", DOCS / "checkpoints.md")
    }
    return {DOCS / "command-line.md": command_line(), **with_models}


def main() -> int:
    """Rewrite the documents, or with `--check` compare them; the exit status is 1 if they are out of date."""
    status = 0
    for path, text in documents().items():
        if "--check" in sys.argv:
            status |= not path.is_file() or path.read_text(encoding="utf-8") != text
        else:
            path.write_text(text, encoding="utf-8")
    print("out of date: run python docs/generate.py" if status else "up to date")
    return status


if __name__ == "__main__":
    sys.exit(main())
