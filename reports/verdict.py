"""A gate's result for people and for CI: a Markdown table and JUnit XML. Every name is escaped; no texts pass here."""

import re
from xml.etree import ElementTree

from reports.gate import GateResult, GateRow

LEGEND = (
    "Loss is positive where the run is worse; its bounds hold at 96% (lower, over all rows) and 95% (upper). "
    "Detectable: the loss that these prompts find 80% of the time."
)
MARKS = {"pass": "✅ pass", "regression": "❌ regression", "inconclusive": "❔ inconclusive"}
# What XML 1.0 cannot hold, and what would break a line or steer a terminal or the direction of the text.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def markdown(result: GateResult) -> str:
    """The verdict, one table row per setting and metric (regressions first), and what would decide an open one."""
    lines = [f"## Gate: {MARKS[result.verdict]}", ""]
    lines += ["| setting | metric | baseline | run | loss | bounds | tolerated | detectable | prompts | verdict |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
    rank = ["regression", "inconclusive", "pass"]
    lines += [_table_row(row) for row in sorted(result.rows, key=lambda row: rank.index(row.verdict))]
    lines += [
        "",
        LEGEND,
    ]
    if result.verdict == "inconclusive":
        more = result.more_prompts
        told = (
            f"About {more} more prompts would decide."
            if more
            else "More prompts would not decide: a loss sits at its limit."
        )
        lines += ["", told]
    if result.new:
        lines += ["", "Not in the baseline, not compared: " + ", ".join(_cell(name) for name in result.new) + "."]
    return "\n".join(lines) + "\n"


def junit(result: GateResult) -> str:
    """JUnit XML: a test case per setting and metric; a regression is a failure, an open verdict is skipped."""
    count = {verdict: sum(row.verdict == verdict for row in result.rows) for verdict in MARKS}
    suite = ElementTree.Element(
        "testsuite",
        name="gate",
        tests=str(len(result.rows)),
        failures=str(count["regression"]),
        errors="0",
        skipped=str(count["inconclusive"]),
    )
    for row in result.rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_plain(row.setting), name=_plain(row.metric), time="0"
        )
        if row.verdict == "regression":
            told = f"loss {_number(row.loss)} ({_bounds(row)}) over {row.n} prompts; tolerated {_number(row.tolerance)}"
            ElementTree.SubElement(case, "failure", type="regression", message=told)
        elif row.verdict == "inconclusive":
            ElementTree.SubElement(case, "skipped", message=f"inconclusive: {_open(row)}")
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _table_row(row: GateRow) -> str:
    numbers = [_number(v) for v in (row.baseline, row.run, row.loss)]
    verdict = MARKS[row.verdict] + (f" ({_open(row)})" if row.verdict == "inconclusive" else "")
    cells = [_cell(row.setting), _cell(row.metric), *numbers, _bounds(row), _number(row.tolerance)]
    return "| " + " | ".join([*cells, _number(row.detectable), str(row.n), verdict]) + " |"


def _open(row: GateRow) -> str:
    return f"{row.more_prompts} more prompts" if row.more_prompts else "more prompts would not decide"


def _bounds(row: GateRow) -> str:
    return f"{_number(row.low, '−∞')} to {_number(row.high, '∞')}"


def _number(value: float | None, missing: str = "none") -> str:
    return missing if value is None else f"{value:.4g}"


def _plain(text: str) -> str:
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _cell(text: str) -> str:
    text = _plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~@:-])", r"\\\1", text)
