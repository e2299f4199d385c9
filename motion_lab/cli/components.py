"""`motion-lab components`: what is registered, how it is called, whether it keeps its contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from motion_lab.cli.options import Plugin
from registry import REGISTRIES

KindName = Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(REGISTRIES)}.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The component's name.")]


def register(app: typer.Typer) -> None:
    """Add the group `components`."""
    group = typer.Typer(help="List, show and check components.", invoke_without_command=True)
    group.callback()(everything)
    group.command("show")(show)
    group.command("check")(check)
    for kind in REGISTRIES:
        group.command(kind, help=f"List the {kind}.")(_lister(kind))
    app.add_typer(group, name="components")


def everything(context: typer.Context, plugin: Plugin = None) -> None:
    """List what is registered, show a component, or check that it keeps its kind's contract.

    Example: `motion-lab components`, or one kind: `motion-lab components encoders`
    """
    _load(plugin)
    if context.invoked_subcommand is None:
        _print_tables(tuple(REGISTRIES))


def _lister(kind: str) -> Callable[..., None]:
    def one_kind(plugin: Plugin = None) -> None:
        _load(plugin)
        _print_tables((kind,))

    return one_kind


def show(kind: KindName, name: Name, plugin: Plugin = None) -> None:
    """Print a component's signature, documentation and source.

    Example: `motion-lab components show encoders conv_volume`
    """
    import inspect

    from rich.console import Console
    from rich.markup import escape
    from rich.syntax import Syntax

    import registry

    _load(plugin)
    entry = registry.of_kind(kind).entry(name)
    component = entry.load()
    signature = registry.of_kind(kind).signature(name)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{escape(name)}[/bold], one of the {kind}, from {escape(entry.target)}")
    for line in (entry.summary, entry.paper):
        if line:
            console.print(escape(line))
    console.print()
    plain = signature.replace(return_annotation=inspect.Signature.empty)
    console.print(escape(f"{component.__name__}{plain}"))
    console.print()
    console.print(escape(inspect.getdoc(component) or "It has no documentation."))
    console.print()
    source = inspect.getsource(component).rstrip()
    console.print(Syntax(source, "python") if console.is_terminal else escape(source))


def check(
    kind: KindName,
    name: Name,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Arguments to build the component with."),
    ] = None,
    plugin: Plugin = None,
) -> None:
    """Run the conformance checks of a component's kind on it; exit 1 if one fails.

    Example: `motion-lab components check extractors mamba_l width=32`
    """
    from rich.console import Console
    from rich.markup import escape

    from motion_lab.configs.loading import parse_settings
    from motion_lab.conformance import check_component

    _load(plugin)
    console = Console(highlight=False, soft_wrap=True)
    results = check_component(kind, {**parse_settings(settings or []), "name": name})
    for result in results:
        mark = "[red]failed[/red]" if result.message else "[green]passed[/green]"
        why = f": {escape(result.message)}" if result.message else ""
        console.print(f"{mark} {result.check}{why}")
    failures = sum(bool(result.message) for result in results)
    if failures:
        console.print(f"{escape(name)} fails {failures} of {len(results)} checks.")
        raise typer.Exit(1)
    console.print(f"{escape(name)} keeps the contract of {kind}.")


def _load(plugins: Sequence[Path] | None) -> None:
    import registry

    for path in plugins or []:
        registry.load_plugin(path)


def _print_tables(kinds: Sequence[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from registry import set_aside

    console = Console(highlight=False)
    for kind in kinds:
        table = Table(title=kind, title_justify="left", title_style="bold", box=None)
        for column in ("name", "what it is", "paper", "from"):
            table.add_column(column, overflow="fold", no_wrap=column == "name")
        for name in REGISTRIES[kind].names():
            entry = REGISTRIES[kind].entry(name)
            package = entry.target.partition(":")[0].partition(".")[0]
            row = (name, entry.summary, entry.paper, package)
            table.add_row(*(escape(text) for text in row))
        console.print(table if table.row_count else f"[bold]{kind}[/bold]\n none registered")
        console.print()
    for plugin, reason in set_aside().items():
        console.print(f"[red]set aside[/red] plugin {escape(plugin)}: {escape(reason)}")
