"""The token guides of docs/add_a_guider.md are run as they stand there."""

import re
from pathlib import Path

from tiny_models import ending, lm

from guiders import Guider, Sampling, laws

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add_a_guider.md"


def test_the_guides_of_the_page_obey_the_laws():
    blocks = [
        b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S) if "TokenGuide" in b
    ]
    names: dict = {"__name__": __name__}
    for block in blocks:
        exec(block, names)
    for guide in (names["Contrastive"](lm("llama", 1)), names["Penalty"]()):
        laws.check(Guider(ending("gpt2", 0, {3}), guide), ["ab", "q"], Sampling(max_new_tokens=6, seed=1))
