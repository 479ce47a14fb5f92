"""The undominated settings of a figure: those that no other one is as good as on both axes, and better on one."""

from collections.abc import Sequence
from html import escape

from reports.answer import Answer
from reports.table import Row
from reports.view.marks import of_row

MOST_NAMED = 16  # methods that a figure tells apart by colour and symbol; of more, a reader sees a cloud


def undominated(points: Sequence[tuple[float, float]], right: bool, up: bool) -> list[int]:
    """The places of the points that no other point dominates (the Pareto front), from left to right.

    Args:
        points: (x, y) each. right: a larger x is better. up: a larger y is better.
    """
    sign_x, sign_y = (1 if right else -1), (1 if up else -1)
    best, found = float("-inf"), []
    for place in sorted(range(len(points)), key=lambda i: (-sign_x * points[i][0], -sign_y * points[i][1])):
        if sign_y * points[place][1] > best:
            best = sign_y * points[place][1]
            found.append(place)
    return sorted(found, key=lambda place: points[place][0])


def front(rows: list[Row], x: str, y: str, answer: Answer, right: bool, named: bool) -> list[dict]:
    """A line along the undominated settings on the reported prompts, each with its method's name if `named`; none where
    there are fewer than three settings, or where neither way of `y` is better."""
    mine, way = [row for row in rows if row.split == answer.reported_on], answer.directions.of(y)
    if len(mine) < 3 or way is None:
        return []
    points = [(of_row(row, x).mean, of_row(row, y).mean) for row in mine]
    places = undominated(points, right, up=way == "higher")
    return [
        {
            "type": "scatter",
            "mode": "lines+text" if named else "lines",
            "cliponaxis": False,
            "name": "undominated",
            "x": [points[place][0] for place in places],
            "y": [points[place][1] for place in places],
            "text": ["\N{NO-BREAK SPACE}" * 3 + escape(mine[place].setting.group) for place in places],  # off the mark
            "textposition": [("top right", "bottom right")[number % 2] for number in range(len(places))],
            "hoverinfo": "skip",
            # what a setting between two of them could have had, at no less on the one axis
            "line": {"shape": "vh" if right else "hv"},
            "meta": {"front": True},
        }
    ]


def faded(traces: list[dict], line: dict) -> list[dict]:
    """Of a figure with very many methods: the chosen settings, faint and without whiskers off the front."""
    on = set(zip(line["x"], line["y"], strict=True))
    chosen = [trace for trace in traces if trace["meta"]["reported"]] or traces
    for trace in chosen:
        if not on & set(zip(trace["x"], trace["y"], strict=True)):
            trace |= {"opacity": 0.4, "error_y": {}, "marker": trace["marker"] | {"size": 9}}
    return chosen
