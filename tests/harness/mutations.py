"""Forty-nine ways in which a row of a run can be changed behind the harness's back, each as a function of its lines.

A mutation takes the lines of a file, the place of the line that it changes, the lines of another trial's file of
the same kind and a random number generator; it gives the lines of the mutated file, the changed one at the same place.
"""

import json
import random
from collections.abc import Callable

Mutation = Callable[[list[bytes], int, list[bytes], random.Random], list[bytes]]


def _edit(change: Callable[[dict], object]) -> Mutation:
    """Edit the row as somebody would in an editor, its checksum left as it is."""

    def mutate(lines, place, other, rng):
        row = json.loads(lines[place])
        change(row)
        return [*lines[:place], json.dumps(row).encode() + b"\n", *lines[place + 1 :]]

    return mutate


def _put(**values) -> Mutation:
    return _edit(lambda row: row.update(values))


def _add(**values) -> Mutation:
    """Move figures of the row by a number."""
    return _edit(lambda row: row.update({name: row[name] + by for name, by in values.items()}))


def _score(value) -> Mutation:
    return _edit(lambda row: row["scores"].update(gold_reward=value))


def _line(change: Callable[[bytes, random.Random], bytes]) -> Mutation:
    """Damage the line itself."""

    def mutate(lines, place, other, rng):
        return [*lines[:place], change(lines[place][:-1], rng) + b"\n", *lines[place + 1 :]]

    return mutate


def _of_another_trial(lines, place, other, rng):
    """The row of the same prompt in another trial, whole and with the checksum that it has there."""
    key = json.loads(lines[place])["key"]
    theirs = next(line for line in other if json.loads(line)["key"] == key)
    return [*lines[:place], theirs, *lines[place + 1 :]]


def _another_key(lines, place, other, rng):
    """This row under the key of the prompt before it."""
    return _put(key=json.loads(lines[place - 1])["key"])(lines, place, other, rng)


def _flip(line: bytes, rng: random.Random) -> bytes:
    """One bit of a digit of the checksum, of which a bit makes another text."""
    place = line.index(b'"checksum": "') + len(b'"checksum": "') + rng.randrange(16)
    return line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]


def _letter(line: bytes, rng: random.Random) -> bytes:
    """One letter of the response or, where it has none, of the prompt."""
    row = json.loads(line)
    name = "response" if row["response"] else "prompt"
    place = rng.randrange(len(row[name]))
    row[name] = row[name][:place] + ("x" if row[name][place] != "x" else "y") + row[name][place + 1 :]
    return json.dumps(row).encode()


RECORDS: dict[str, Mutation] = {
    "response edited": _put(response="a much better answer"),
    "response longer": _edit(lambda row: row.update(response=row["response"] + " indeed")),
    "one letter": _line(_letter),
    "response is no text": _put(response=7),
    "response is null": _put(response=None),
    "prompt edited": _put(prompt="another question"),
    "key edited": _put(key="0123456789abcdef"),
    "key of another prompt": _another_key,
    "key is a number": _put(key=12),
    "without a key": _edit(lambda row: row.pop("key")),
    "index": _add(index=1),
    "n_tokens": _add(n_tokens=1),
    "finish_reason": _put(finish_reason="shortened"),
    "kl": _add(kl=1e-9),
    "kl is NaN": _put(kl=float("nan")),
    "value": _put(value=99.5),
    "log_ratio": _put(log_ratio=-3.0),
    "forward_passes": _add(forward_passes=-1),
    "computed_passes": _add(computed_passes=1),
    "seconds": _put(seconds=0.0),
    "truncated": _put(truncated=3),
    "a field taken out": _edit(lambda row: row.pop("kl")),
    "a field put in": _put(note="checked by hand"),
    "without its checksum": _edit(lambda row: row.pop("checksum")),
    "checksum off by a bit": _line(_flip),
    "cut in the middle": _line(lambda line, rng: line[: rng.randrange(1, len(line))]),
    "bytes that are no text": _line(lambda line, rng: line.replace(b'"prompt": "', b'"prompt": "\xff', 1)),
    "zeros of a damaged disk": _line(lambda line, rng: b"\0" * len(line)),
    "nested too deep": _line(lambda line, rng: b"[" * 100_000),
    "a list": _line(lambda line, rng: b"[" + line + b"]"),
    "an empty line": _line(lambda line, rng: b""),
    "another trial's row": _of_another_trial,
}
SCORES: dict[str, Mutation] = {
    "score raised": _edit(lambda row: row["scores"].update(gold_reward=row["scores"]["gold_reward"] + 1)),
    "score is NaN": _score(float("nan")),
    "score is infinite": _score(float("inf")),
    "score is a text": _score("high"),
    "a score taken out": _edit(lambda row: row["scores"].pop("fluency")),
    "scores are null": _put(scores=None),
    "key edited": _put(key="0123456789abcdef"),
    "without its checksum": _edit(lambda row: row.pop("checksum")),
    "another trial's row": _of_another_trial,
}
JUDGEMENTS: dict[str, Mutation] = {
    "preference 9": _put(preference=9.0),
    "preference turned": _edit(lambda row: row.update(preference=3 - row["preference"] - 1e-6)),
    "preference is NaN": _put(preference=float("nan")),
    "preference is a text": _put(preference="model"),
    "length": _add(len_2=-1),
    "baseline": _put(baseline="base-000000000000"),
    "without its checksum": _edit(lambda row: row.pop("checksum")),
    "another trial's row": _of_another_trial,
}
ALL = {
    (kind, name): mutation
    for kind, named in (("records", RECORDS), ("scores", SCORES), ("judgements", JUDGEMENTS))
    for name, mutation in named.items()
}
