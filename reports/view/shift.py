"""The figure of token shifts: how many of a method's tokens were the base's first, second or third, or later choice."""

from html import escape

from reports.answer import Answer
from reports.table import Table
from reports.token_shift import token_shift
from reports.view.marks import Figure

KINDS = {"first": "the base's first", "second_or_third": "its second or third", "later": "later"}
SYMBOLS = ("circle", "diamond", "x")


def shift_figure(table: Table, answer: Answer) -> Figure | None:
    """The chosen settings on the reported prompts; None where no traces were recorded."""
    found = []
    for row in table.on(answer.reported_on):
        part = table.part(row.setting.id, row.split)
        shares = None if table.guides_another(row.setting.id) or part is None else token_shift(part["trace"])
        if shares:
            found.append((row, shares))
    if not found:
        return None
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [100 * getattr(shares, kind) for _, shares in found],
            "y": [escape(row.setting.group) for row, _ in found],
            "error_y": {},
            "text": [f"<b>{escape(row.setting.label)}</b><br>{100 * getattr(s, kind):.1f}% {name}" for row, s in found],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"size": 8, "symbol": symbol},
            "meta": {"method": place},
        }
        for place, ((kind, name), symbol) in enumerate(zip(KINDS.items(), SYMBOLS, strict=True))
    ]
    layout = {
        "xaxis": {"title": {"text": "share of tokens (%)"}, "range": [0, 100]},
        "yaxis": {"type": "category", "autorange": "reversed"},
    }
    return Figure(
        "shift",
        "Where guided tokens stand in the base's own order",
        "How likely the base finds each token after the same text: its first choice, second or third, or a later one. "
        "The base itself is drawn, not greedy: read a method's shares beside the base's.",
        {"data": traces, "layout": layout},
        ["setting", "split", *KINDS.values(), "tokens"],
        [
            [row.setting.label, row.split, *(f"{100 * getattr(s, kind):.1f}%" for kind in KINDS), str(s.tokens)]
            for row, s in found
        ],
    )
