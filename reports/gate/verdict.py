"""A gate's result for people and for CI: a Markdown table and JUnit XML. Every name is escaped; no texts pass here."""

import re
from collections.abc import Iterable
from xml.etree import ElementTree

from reports.gate.same_models import RecordDifference, SameModels
from reports.gate.statistics import GateResult, GateRow

LEGEND = (
    "Loss is positive where the run is worse; its bounds hold at 96% (lower, over all rows) and 95% (upper). "
    "Detectable: the loss that these prompts find 80% of the time."
)
MARKS = {
    "pass": "✅ pass",
    "regression": "❌ regression",
    "inconclusive": "❔ inconclusive",
    "changed": "❌ changed",
    "accepted": "☑️ accepted",
}
RANK = ["regression", "inconclusive", "accepted", "pass"]
HEAD = [
    "| setting | metric | baseline | run | loss | bounds | tolerated | detectable | prompts | verdict |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
]
MOST_FIELDS = 6
# What XML 1.0 cannot hold, and what would break a line or steer a terminal or the direction of the text.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def markdown(result: GateResult) -> str:
    """The verdict, one table row per setting and metric (regressions first), and what would decide an open one."""
    lines = [f"## Gate: {MARKS[result.verdict]}", ""]
    lines += [*HEAD, *_table(result.rows)]
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


def same_models_markdown(result: SameModels, against: str) -> str:
    """What differs from another version's run of the same models, by setting, and the figures of what differs."""
    records = sum(one.records for one in result.differences)
    differ = sum(one.differ for one in result.differences)
    lines = [f"## Same models: {MARKS[result.verdict]}", ""]
    lines += [f"Against {_cell(against)}: {differ} of {records} records differ (times aside)."]
    shown = [one for one in result.differences if one.differ or one.rounding or one.lost or one.added]
    if shown:
        lines += ["", "| setting | records | differ | rounding | lost | new | what | first |"]
        lines += ["| --- | ---: | ---: | ---: | ---: | ---: | --- | --- |", *(_difference_row(one) for one in shown)]
    if result.rows:
        lines += ["", *HEAD, *_table(result.rows), "", LEGEND]
    meant = dict.fromkeys(
        f"Meant in {_cell(one.setting)} ({_cell(', '.join(sorted(one.accepted)))}): {_cell(reason)}"
        for one in shown
        for reason in one.meant
    )
    lines += [line for reason in meant for line in ("", reason)]
    if result.verdict == "changed":
        told = f"At most {100 * result.share:.3g}% of a setting's records may differ and none be lost. "
        lines += ["", told + "A difference that is meant is named in baselines/accepted.yaml (docs/gate.md)."]
    return "\n".join(lines) + "\n"


def same_models_junit(result: SameModels) -> str:
    """JUnit XML: a test case per setting for its records, and one per figure of those that differ."""
    suite = ElementTree.Element("testsuite", name="same models", errors="0")
    for one in result.differences:
        case = ElementTree.SubElement(suite, "testcase", classname=_plain(one.setting), name="records", time="0")
        if not one.is_small(result.share):
            told = f"{one.differ} of {one.records} records differ ({_fields(one)}), {one.lost} are lost"
            ElementTree.SubElement(case, "failure", type="changed", message=_plain(told))
    return _suites(suite, result.rows)


def junit(result: GateResult) -> str:
    """JUnit XML: a test case per setting and metric; a regression is a failure, an open verdict is skipped."""
    return _suites(ElementTree.Element("testsuite", name="gate", errors="0"), result.rows)


def _suites(suite: ElementTree.Element, rows: Iterable[GateRow]) -> str:
    for row in rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_plain(row.setting), name=_plain(row.metric), time="0"
        )
        if row.verdict == "regression":
            told = f"loss {_number(row.loss)} ({_bounds(row)}) over {row.n} prompts; tolerated {_number(row.tolerance)}"
            ElementTree.SubElement(case, "failure", type="regression", message=told)
        elif row.verdict == "inconclusive":
            ElementTree.SubElement(case, "skipped", message=f"inconclusive: {_open(row)}")
    for name, kind in (("tests", "testcase"), ("failures", "testcase/failure"), ("skipped", "testcase/skipped")):
        suite.set(name, str(len(suite.findall(kind))))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _difference_row(one: RecordDifference) -> str:
    first = f"{one.first[0]}, seed {one.first[1]}, prompt {one.first[2]}" if one.first else ""
    counts = [str(n) for n in (one.records, one.differ, one.rounding, one.lost, one.added)]
    return "| " + " | ".join([_cell(one.setting), *counts, _cell(_fields(one)), _cell(first)]) + " |"


def _fields(one: RecordDifference) -> str:
    """How many records differ in which field."""
    told = [f"{name} {count}" for name, count in list(one.fields.items())[:MOST_FIELDS]]
    return ", ".join([*told, *(["…"] if len(one.fields) > MOST_FIELDS else [])])


def _table(rows: Iterable[GateRow]) -> list[str]:
    return [_table_row(row) for row in sorted(rows, key=lambda row: RANK.index(row.verdict))]


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
