"""The figures as tables on the terminal."""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.bench.result import Result

MIB = 1 << 20


def show(result: Result) -> None:
    """Print the figures."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    figures = result.figures
    for line in _heading(figures):
        console.print(Text(line))
    for title, table in _sections(figures):
        console.print(Text(f"\n{title}", style="bold"))
        console.print(table)


def _sections(figures: dict) -> Iterable[tuple[str, Table | Text]]:
    if "beside" in figures:
        yield f"Methods beside {figures['reference']}, at equal rows of the batch", _beside(figures)
        return
    yield "Rates, medians over rounds", _rates(figures)
    for method, figure in figures["methods"].items():
        yield _floor_line(method, figure), _parts(figure)
        if "bandwidth" in figure:
            yield f"{method}: the memory-bandwidth floor", _bandwidth(figure["bandwidth"])
    for axis, points in figures["scaling"].items():
        yield f"{figures['settings']['methods'][0]}: cost as {axis} grows", _scaling(axis, points)
    yield "Caches of all models together, by segment (MiB)", _memory(figures)
    yield "Ratios (targets: docs/benchmarks.md)", _ratios(figures)


def _heading(figures: dict) -> Iterable[str]:
    settings, machine = figures["settings"], figures["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    yield f"{machine['processor']}, {machine['device']}, {machine['threads']} thread(s); {versions}"
    sizes = ", ".join(f"{name} {count / 1e6:.1f}M" for name, count in figures["models"].items())
    yield f"{settings['base']}, {settings['dtype']}: {sizes}; vocabulary {figures['vocabulary']}"
    shortest, longest = settings["prompt_tokens"]
    yield (
        f"{settings['prompts']} prompts of {shortest} to {longest} tokens, {settings['new_tokens']} new tokens, "
        f"W={settings['width']} K={settings['successors']} L={settings['length']}, {settings['rounds']} round(s), "
        f"{settings['clock']} clock; {figures['equal_work']}"
    )
    if "beside" in figures:
        return
    moved = sum(run["disturbed"] for run in figures["runs"])
    yield (
        f"calibration product: {figures['gauge'] / 1e9:.1f} G multiplications/s; "
        f"{moved} of {len(figures['runs'])} runs began with it off by more than 15%"
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="underline")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(Text, cells))


def _rates(figures: dict) -> Table:
    table = _table("variant", "answer tok/s", "hypothesis tok/s", "wall s", "CPU s", "peak MiB", "disturbed")
    for name, rate in figures["rates"].items():
        _add(
            table,
            name,
            f"{rate['answer_tokens_per_second']:.1f}",
            f"{rate['hypothesis_tokens_per_second']:.1f}",
            f"{rate['wall_seconds']:.2f}",
            f"{rate['cpu_seconds']:.2f}",
            f"{rate['peak_bytes'] / MIB:.0f}",
            str(rate["disturbed_rounds"]),
        )
    return table


def _beside(figures: dict) -> Table:
    table = _table("method", "rows", "prompts", "answer tok/s", "row tok/s", "share", "positions/row token", "not run")
    for method, one in figures["beside"].items():
        if "not_run" in one:
            _add(table, method, *[""] * 6, one["not_run"])
            continue
        numbers = (one["answer_tokens_per_second"], one["row_tokens_per_second"])
        rates = [f"{number:.0f}" for number in numbers]
        _add(table, method, f"{one['rows']:.0f}", f"{one['prompts']:.0f}", *rates, f"{one['share']:.2f}",
             f"{one['positions_per_row_token']:.1f}", "")  # fmt: skip
    return table


def _floor_line(method: str, figure: dict) -> str:
    return (
        f"{method}: time by part in one profiled run; the arithmetic floor is {figure['floor_seconds']:.2f} s, "
        f"{figure['floor_share']:.0%} of the timed runs"
    )


def _parts(figure: dict) -> Table:
    table = _table("part", "seconds", "of the run", "floor", "above it")
    for part, entry in figure["parts"].items():
        seconds, floor = entry["seconds"], entry["floor_seconds"]
        share = seconds / figure["profiled_seconds"]
        _add(table, part, f"{seconds:.3f}", f"{share:.1%}", f"{floor:.3f}", f"{seconds - floor:.3f}")
    return table


def _bandwidth(one: dict) -> Text:
    return Text(
        f"{1000 * one['step_seconds']:.2f} ms a step; its bytes at {one['bytes_per_second'] / 1e9:.0f} GB/s take "
        f"{1000 * one['floor_seconds']:.2f} ms: {one['share']:.0%}"
    )


def _scaling(axis: str, points: list[dict]) -> Table:
    table = _table(axis, "ms per answer token", "peak MiB")
    for point in points:
        at = f"W=K={point['at']}" if axis == "rows" else str(point["at"])
        _add(table, at, f"{1000 * point['per_answer_token']:.3f}", f"{point['peak_bytes'] / MIB:.0f}")
    return table


def _memory(figures: dict) -> Table:
    table = _table("rows a prompt", "prompt", "history", "chunk")
    for held in figures["prompt_memory"]:
        _add(table, str(held["rows"]), *(f"{held[name] / MIB:.2f}" for name in ("prompt", "history", "chunk")))
    return table


def _ratios(figures: dict) -> Table:
    table = _table("ratio", "figure")
    for name, ratio in figures["ratios"].items():
        _add(table, name, "not run" if ratio is None else f"{ratio:.3g}")
    return table
