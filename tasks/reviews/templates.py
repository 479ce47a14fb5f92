"""Sentence templates, in three pools: the opening, the middle and the closing of a review.

`{adj+}` is an evaluative phrase with the sentence's main polarity, `{adj-}` one against it (the conceded half of a
"but"). `{subject}` is an aspect ("the plot"), `{be}` an aspect with its verb ("the plot is"); a review names no
aspect twice. `|` ends the words that a prompt may hold: everything before it is neutral.

Closings share no evaluative prefix with the middle, and openings none with either: the exact score of a sentence cut
short (`reviews.gold`) rests on it.
"""

OPENINGS = (
    "{when} I {saw} this {kind} {genre}| {company}.",
    "{when} I {saw} this {kind} {genre}| {company}, and it was {adj+}.",
    "{when} I {saw} this {kind} {genre}| {company}, and it {verb+}.",
    "my {friend} {brought} this {kind} {genre}| {company}.",
    "my {friend} {brought} this {kind} {genre}| {company}, and I {feel+} it.",
    "my {friend} {brought} this {kind} {genre}| {company}, and to me it was {noun+}.",
)

MIDDLE = (
    "{be} {adj+}.",
    "{subject} {verb+}.",
    "I {feel+} {subject}.",
    "I found {subject} {adj+}.",
    "{be} {noun+}.",
    "{part}, {be} {adj+}.",
    "{part}, {subject} {verb+}.",
    "{turn}, {be} {noun+}.",
    "{turn}, {subject} {verb+}.",
    "{subject} and {subject} {verb+}.",
    "I {feel+} {subject} and {subject}.",
    "{be} {adj+}, and {be} {adj+}.",
    "{be} {adj+}, and {subject} {verb+}.",
    "I {feel+} {subject}, and I found {subject} {adj+}.",
    "{be} {adj-}, but {be} {adj+}.",
    "{be} {noun-}, but {subject} {verb+}.",
    "{subject} {verb-}, yet {be} {adj+}.",
    "although {be} {adj-}, {subject} {verb+}.",
    "although {subject} {verb-}, I {feel+} {subject}.",
    "I {feel+} {subject}, though {be} {adj-}.",
    "even if {be} {noun-}, {be} {adj+}.",
    "while I {feel-} {subject}, {be} {adj+}.",
    "{crew} from {place} worked on {subject}.",
    "most of the talk is about {subject} and {subject}.",
)

CLOSINGS = (
    "{sum}, it is {noun+}.",
    "{sum}, it was {adj+}.",
    "{sum}, I {feel+} it.",
    "I would {advise+} {people}.",
    "{sum}, it {verb+}.",
    "{sum}, it is {adj-}, but I {feel+} it.",
    "it runs for {minutes} minutes.",
)

POOLS = {"opening": OPENINGS, "middle": MIDDLE, "closing": CLOSINGS}
