"""`motion-lab doctor`: what this installation has and what it will use."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command `doctor`."""
    app.command("doctor")(doctor)


def doctor() -> None:
    """Say what was built, what each op will use, and which optional packages are there.

    Exits with 1 if the native CPU kernels cannot be used.

    Example: `motion-lab doctor`
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from motion_lab.doctor import Line, examine

    def table(title: str, *columns: str) -> Table:
        return Table(*columns, title=title, title_justify="left", title_style="bold", box=None)

    def mark(good: bool | None) -> str:
        return {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]–[/]"}[good]

    def lines(title: str, found: list[Line]) -> Table:
        made = table(title, "", "", "")
        for line in found:
            made.add_row(mark(line.good), line.name, escape(line.found))
        return made

    report = examine()
    console = Console()
    console.print(lines("System", report.system))
    ops = table("Ops", "", "op", "on", "backend", "")
    told = [line.found for line in report.system]
    for entry in report.ops:
        problem = entry.problem
        if problem in told and entry.device == "cuda":
            problem = "needs the CUDA kernels, see above"
        says = f"[red]{escape(problem)}[/]" if problem else escape(entry.note)
        ops.add_row("unasked" if entry.default else "", entry.op, entry.device, entry.backend, says)
    console.print(ops)
    console.print(lines("Optional packages", report.packages))
    raise typer.Exit(0 if report.healthy else 1)
