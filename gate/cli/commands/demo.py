"""`gate demo`: the whole story, with nothing to set up."""

from __future__ import annotations

import sys

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the story.")
def demo(as_json: bool) -> None:
    """Tell the gate's whole story on this machine, with nothing to set up.

    Starts its own Valkey server and paper exchange, sends intents through eight workers at once, and finally compares
    the exchange's books with the gate's records. Takes a few seconds and leaves nothing behind.

    Exit codes: 0 every check passed, 1 one failed or the books differ, 3 the store could not be started.
    """
    import logging

    from gate.demo.story import Promise, Story, run
    from gate.values.errors import StoreFailure

    logging.getLogger("gate").addHandler(logging.NullHandler())  # the story tells what these logs would repeat
    if as_json:
        story = Story(on_scene=lambda _: None, on_promise=lambda _: None)
    else:
        from rich.markup import escape

        from gate.cli.screens.terminal import PipeAwareConsole

        console = PipeAwareConsole(highlight=False)
        number = iter(range(1, 100))

        def on_scene(title: str) -> None:
            console.print(f"\n[bold]{next(number)}. {escape(title)}[/bold]")

        def on_promise(promise: Promise) -> None:
            mark = "[green]passed[/green]" if promise.kept else "[red]FAILED[/red]"
            console.print(f"   {mark} {escape(promise.said)}")
            console.print(f"          [dim]{escape(promise.seen)}[/dim]")

        story = Story(on_scene=on_scene, on_promise=on_promise)
        console.print(
            "gate demo: an embedded Valkey, a paper exchange, two new accounts (gate init), eight workers each"
        )
    try:
        run(story)
    except StoreFailure as failure:
        click.echo(f"gate demo: {failure}", err=True)
        sys.exit(3)

    if as_json:
        import msgspec

        document = {
            "kept": story.true,
            "seconds": round(story.seconds, 1),
            "promises": story.promises,
            "books": story.books,
        }
        click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))
    else:
        from rich.table import Table

        console.print("\n[bold]The exchange's books against the gate's records[/bold]")
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        for heading in ("intent", "answered", "the gate's record", "the exchange's order", ""):
            table.add_column(heading, overflow="fold")
        for line in story.books:
            mark = "[green]agree[/green]" if line.agrees else "[red]DIFFER[/red]"
            cells = (line.intent_id, line.said, line.record, line.orders)
            table.add_row(*(escape(cell) for cell in cells), mark)
        console.print(table)
        orders = sum(line.orders != "-" for line in story.books)
        passed = sum(promise.kept for promise in story.promises)
        verdict = "[green]all is well[/green]" if story.true else "[red]SOMETHING IS WRONG[/red]"
        console.print(
            f"\n{passed} of {len(story.promises)} checks passed, {orders} orders, each of one intent, "
            f"{story.seconds:.1f} s: {verdict}"
        )
    sys.exit(0 if story.true else 1)
