"""How a sweep goes: the plan, decoding and recording, selection, judging."""
