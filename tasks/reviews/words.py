"""The words of the grammar: evaluative phrases by class and level, and the neutral rest.

A level is a signed strength: +3, +2, +1 praise strongly, clearly, mildly; -1, -2, -3 blame likewise. Within a class
and a level every phrase is equally probable. No phrase stands in two levels.
"""


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


ADJECTIVES = {
    3: _phrases("superb, brilliant, stunning, magnificent, flawless, breathtaking, masterful, unforgettable"),
    2: _phrases("great, strong, funny, clever, moving, gripping, charming, lovely"),
    1: _phrases("fine, pleasant, decent, solid, tidy, likeable, watchable, neat"),
    -1: _phrases("thin, uneven, slow, bland, ordinary, tame, predictable, forgettable"),
    -2: _phrases("weak, dull, clumsy, boring, lifeless, tedious, messy, silly"),
    -3: _phrases("awful, dreadful, horrible, unbearable, atrocious, disastrous, abysmal, painful"),
}

# Past tense, so that one form agrees with every aspect.
VERBS = {
    3: _phrases("took my breath away, stole the show, left me in awe, swept me off my feet, blew me away"),
    2: _phrases("kept me hooked, made me smile, shone from start to finish, won me over, held me tight"),
    1: _phrases("did the job, held together, passed the time, went down well, kept its promise"),
    -1: _phrases("lost a little steam, went on too long, needed more work, left me cold, ran out of ideas"),
    -2: _phrases("fell flat, dragged badly, got on my nerves, let me down, put me to sleep"),
    -3: _phrases("ruined the evening, made me want to leave, insulted the audience, fell to pieces, drove me mad"),
}

NOUNS = {
    3: _phrases("a triumph, a masterpiece, a work of genius, an absolute treasure, pure magic"),
    2: _phrases("a delight, a joy, a real strength, a pleasure, a winner"),
    1: _phrases("a plus, a nice touch, a small comfort, a fair effort, a welcome change"),
    -1: _phrases("a minor flaw, a missed chance, a small letdown, a mixed bag, an afterthought"),
    -2: _phrases("a mess, a bore, a real weakness, a mistake, a letdown"),
    -3: _phrases("a disaster, a catastrophe, an insult, an utter failure, pure torture"),
}

FEELINGS = {
    3: _phrases("adored, worshipped, cherished, treasured"),
    2: _phrases("loved, enjoyed, admired, savoured"),
    1: _phrases("liked, accepted, appreciated, welcomed"),
    -1: _phrases("doubted, questioned, endured, tolerated"),
    -2: _phrases("disliked, regretted, resented, deplored"),
    -3: _phrases("hated, despised, loathed, detested"),
}

ADVICE = {
    3: _phrases("shout about it to, buy it for, press it on"),
    2: _phrases("gladly recommend it to, happily show it to, praise it to"),
    1: _phrases("lend it to, mention it to, perhaps suggest it to"),
    -1: _phrases("hardly suggest it to, rarely name it to, think twice before showing it to"),
    -2: _phrases("hide it from, never recommend it to, keep it away from"),
    -3: _phrases("not wish it on, forbid it to, beg you to keep it from"),
}

EVALUATIVE = {"adj": ADJECTIVES, "verb": VERBS, "noun": NOUNS, "feel": FEELINGS, "advise": ADVICE}

# Before an adjective.
BOOSTS = _phrases("truly, utterly, simply, really, completely, absolutely")
HEDGES = _phrases("rather, somewhat, mostly, fairly, arguably, perhaps")

SINGULAR = _phrases(
    "acting, plot, score, camera work, script, dialogue, editing, pacing, lighting, story, ending, cast, music, humour,"
    " direction, soundtrack, first act, final act, lead actor, supporting cast, villain, romance, set design, mood"
)
PLURAL = _phrases("costumes, effects, action scenes, jokes, songs, characters, visuals, twists, stunts, performances")
SUBJECTS = tuple(f"the {noun}" for noun in SINGULAR + PLURAL)
BE_SUBJECTS = tuple(f"the {noun} is" for noun in SINGULAR) + tuple(f"the {noun} are" for noun in PLURAL)

NEUTRAL = {
    "when": _phrases(
        "last night, on Monday, on Friday, on Sunday, last week, this morning, yesterday, in March, in June,"
        " in October, over the holidays, after work, after dinner, one evening, a month ago, last year"
    ),
    "saw": _phrases("watched, saw, rented, streamed, borrowed, caught"),
    "friend": _phrases(
        "sister, brother, neighbour, cousin, teacher, uncle, aunt, colleague, father, mother, daughter, son"
    ),
    "brought": _phrases("took me to, sent me to, told me about, picked, chose, asked me to see"),
    "kind": _phrases("old, new, recent, short, long, foreign, Danish, French, Korean, Italian, silent, famous"),
    "genre": _phrases(
        "film, drama, comedy, thriller, western, musical, documentary, mystery, romance, sequel, remake, adventure"
    ),
    "company": _phrases(
        "with my family, with two friends, with a large crowd, on a small screen, at the local cinema, at home,"
        " on the train, without a break, with the lights off, during a storm, in a single sitting, for the second time"
    ),
    "place": _phrases("Prague, Lisbon, Dublin, Oslo, Chicago, Toronto, Mumbai, Seoul"),
    "crew": _phrases(
        "a young team, two brothers, a veteran crew, three students, a well known studio, a former painter"
    ),
    "part": _phrases(
        "in the first half, in the second half, near the end, from the start, in every scene, towards the middle"
    ),
    "turn": _phrases("on top of that, to my mind, this time, for once, as it happens, in my view"),
    "people": _phrases("my friends, my parents, anyone, a child, fans of the genre, my students, an old friend"),
    "sum": _phrases("all in all, in the end, in short, overall, to sum up, taken as a whole"),
    "minutes": _phrases("ninety, eighty, a hundred, seventy"),
}
