"""The figures of a file as a table on the terminal, beside what was wanted."""

from collections.abc import Iterator

from benchmarks.gpu.results import Results

# wanted of one H200 with mistral-7b's shapes: a step over its floor by rows, minutes of AlpacaEval, graphs over eager
STATED = "mistral-7b"
TIMES_THE_FLOOR = {4: 2.0, 32: 2.0, 128: 2.0, 512: 1.6}
MINUTES, GRAPHS_AT_4_ROWS = 6.0, 2.0


def summary(results: Results) -> str:
    """Every stage that has lines."""
    head = results.lines[0]
    packages = ", ".join(f"{name} {version}" for name, version in head["packages"].items())
    lines = [f"{head['device']}; {packages}; shapes of {head['shape']}"]
    for part in (_right, _fast, _whole, _product, _kernels):
        lines += part(results)
    failed = [line for stage in ("right", "fast", "whole", "product", "kernels") for line in _failed(results, stage)]
    return "\n".join([*lines, *failed])


def _failed(results: Results, stage: str) -> Iterator[str]:
    for name, line in results.of(stage).items():
        if "error" in line:
            yield f"FAILED  {stage}: {name}: {line['error']} ({line['where']})"


def _right(results: Results) -> Iterator[str]:
    lines = results.of("right")
    if lines:
        failed = sum("error" in line for line in lines.values())
        yield f"right: {len(lines) - failed} of {len(lines)} checks hold"


def _good(results: Results, stage: str) -> dict[str, dict]:
    return {name: line for name, line in results.of(stage).items() if "error" not in line}


def _fast(results: Results) -> Iterator[str]:
    lines, stated = _good(results, "fast"), results.lines[0]["shape"] == STATED
    timed = {(line["rows"], line["graphs"]): line for name, line in lines.items() if name.startswith("ivg")}
    plain = {line["rows"]: line for name, line in lines.items() if name.startswith("plain")}
    if timed:
        yield "rows        ms/step  floor: bytes  arithmetic   times   wanted  plain ms  peak GB  predicted"
    for (rows, graphs), one in sorted(timed.items()):
        peak = f"{one['peak_bytes'] / 1e9:.1f}" if one["peak_bytes"] else "-"
        generate = f"{1e3 * plain[rows]['step_seconds']:.2f}" if rows in plain else "-"
        wanted = f"{TIMES_THE_FLOOR[rows]:.1f}" if stated and graphs and rows in TIMES_THE_FLOOR else "-"
        yield (
            f"{rows:4} {'graphs' if graphs else 'eager':6} {1e3 * one['step_seconds']:8.2f} "
            f"{1e3 * one['bandwidth_floor']:12.2f} {1e3 * one['arithmetic_floor']:11.2f} {one['times_the_floor']:7.2f} "
            f"{wanted:>8} {generate:>9} {peak:>8} {one['predicted_bytes'] / 1e9:10.1f}"
        )
    if {(4, True), (4, False)} <= timed.keys():
        times = timed[4, False]["step_seconds"] / timed[4, True]["step_seconds"]
        wanted = f" (wanted {GRAPHS_AT_4_ROWS:g})" if stated else ""
        yield f"graphs at 4 rows: {times:.2f} times as fast as eager{wanted}"
    for name, line in lines.items():
        if name.startswith("parts"):
            shares = ", ".join(f"{part} {s / line['total']:.0%}" for part, s in line["parts"].items())
            yield f"{name}, eager: {shares}"
        if name.startswith("kernels"):
            yield f"{name}: busy {line['busy_seconds'] / line['chunk_seconds']:.0%} of {line['chunk_seconds']:.3f} s"
            for one in line["top"][:5]:
                yield f"    {one['seconds'] / line['chunk_seconds']:5.1%} {one['calls']:7} {one['kernel']}"


def _whole(results: Results) -> Iterator[str]:
    for name, line in _good(results, "whole").items():
        stated = results.lines[0]["shape"] == STATED and name == "ivg"
        wanted = f" (wanted {MINUTES:g})" if stated else ""
        cut = ", cut short" if line["cut_short"] else ""
        yield (
            f"AlpacaEval, {name}: {line['minutes']:.1f} minutes{wanted}, from {line['finished']} of "
            f"{line['prompts']} prompts at {line['rows']} rows{cut}"
        )


def _product(results: Results) -> Iterator[str]:
    for name, line in _good(results, "product").items():
        inside = line["figures"] - len(line["outside"])
        yield f"{name}: {inside} of {line['figures']} figures within the CPU's intervals"


def _kernels(results: Results) -> Iterator[str]:
    for name, line in _good(results, "kernels").items():
        ran = {way: one["seconds"] for way, one in line["ways"].items() if "error" not in one}
        told = ", ".join(f"{way} {1e6 * seconds:.0f}" for way, seconds in sorted(ran.items(), key=lambda x: x[1]))
        rest = [way for way in line["ways"] if way not in ran]
        yield f"{name}, µs: {told}" + (f"; not here: {', '.join(rest)}" if rest else "")
