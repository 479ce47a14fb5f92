"""The display of progress, as a terminal and as a log file show it."""

import io
import re

import pytest

from harness import progress
from harness.progress import Display, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def shown(text: str) -> str:
    """The text without the codes that move the cursor and colour it."""
    return re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", text)


def test_a_log_has_a_line_every_ten_seconds_of_training_and_one_at_the_end(clock):
    stream = io.StringIO()
    with Display(stream) as display:
        for step in range(1, 26):
            clock[0] += 2.0 if step > 1 else 0.0
            display.step("sft", step, 25, 1.5)
    lines = stream.getvalue().splitlines()
    # 2 s a step: after 12, 24, 36, 48 s; the last step says the end
    assert [line.split(",")[0] for line in lines] == [f"sft: step {n} of 25" for n in (7, 13, 19, 25)]
    assert lines[0] == "sft: step 7 of 25, loss 1.5000, 0.6 steps/s, 31 s left"


def test_a_training_that_goes_on_counts_its_rate_from_where_it_began_here(clock):
    stream = io.StringIO()
    display = Display(stream)
    display.step("dpo", 91, 100, None)
    clock[0] += 9.0
    display.step("dpo", 100, 100, None)
    assert stream.getvalue() == "dpo: step 100 of 100, 1.1 steps/s, 0 s left\n"  # 10 steps in 9 s


def test_a_log_of_a_sweep_has_a_line_a_trial():
    stream = io.StringIO()
    display = Display(stream)
    with display.stage("dev", 8):
        display.begin("1/2 base")
        display.advance(4)
        display.done("1/2 base", 1.25)
    assert stream.getvalue() == "1/2 base: 1.2 s\n"


def test_a_terminal_has_a_bar_for_the_stage_that_runs_and_lines_stay_above_it():
    stream = Terminal()
    display = Display(stream)
    with display.stage("first", 4):
        display.begin("1/1 [red]base")
        display.advance(4)
        display.say("a line [b]that stays")
    before = len(stream.getvalue())
    with display.stage("second", 2):
        display.advance(1)
    text = stream.getvalue()
    assert "4/4" in shown(text[:before])
    assert "1/1 [red]base" in shown(text[:before])
    assert "a line [b]that stays" in shown(text[:before])
    assert "1/2" in shown(text[before:])
    assert "4/4" not in shown(text[before:])


def test_a_terminal_has_a_bar_for_each_stage_of_a_training():
    stream = Terminal()
    with Display(stream) as display:
        display.step("untuned", 3, 5, 0.25)
        display.step("base", 1, 7, None)
    text = shown(stream.getvalue())
    assert re.search(r"untuned .*3/5 .*loss 0.2500", text)
    assert re.search(r"base .*1/7 ", text)


@pytest.mark.parametrize(("seconds", "words"), [(45.4, "45 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_seconds_in_words(seconds, words):
    assert duration(seconds) == words
