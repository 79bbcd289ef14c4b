"""Typer commands; they start everything and decide nothing."""
