"""The searches of docs/add_a_guider.md run as they stand there."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tiny_models import lm, value

from guiders import Explicit, Guider, Sampling, laws
from guiders.search import Search, Selection, Tokens

torch.set_num_threads(1)
PAGE = Path(__file__).parents[2] / "docs" / "add_a_guider.md"
BLOCKS = [block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "(Search):" in block]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.search(r"class (\w+)", block)[1])
def test_a_search_of_the_docs_obeys_the_laws(block):
    names = {"dataclass": dataclass, "torch": torch, "Search": Search, "Selection": Selection, "Tokens": Tokens}
    before = set(names)
    exec(block, names)
    (made,) = (x for name, x in names.items() if name not in before and isinstance(x, type))
    guider = Guider(lm("gpt2", 0, 0.5), value=Explicit(value()), search=made(length=3))
    laws.check(guider, ["ab", "hello there", "q"], Sampling(max_new_tokens=8, seed=2))


def test_the_page_has_two():
    assert len(BLOCKS) == 2
