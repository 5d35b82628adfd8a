"""Secrets that a person types or a pipe gives: never an argument, which other users of the machine could see."""

import sys

import typer


def typed(name: str) -> str:
    """Return a secret: asked for without echo on a terminal, otherwise all of standard input. May be empty."""
    if sys.stdin.isatty():
        given: str = typer.prompt(name, hide_input=True, err=True)
        return given.strip()
    return sys.stdin.read().strip()
