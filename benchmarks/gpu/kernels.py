"""Stage e: which kernel is the fastest at which shape, as a table: attention, compilation, weights of 8 bits."""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks.gpu import attention
from benchmarks.gpu.session import SUCCESSORS, WIDTH, Session, Step
from harness.bench.clocks import best

# Mistral-7B's, a prompt of AlpacaEval, a history of half an answer, a chunk of L
HEADS, GROUPS, HEAD_WIDTH, COLUMNS = 8, 4, 128, (64, 256, 30)
SLOTS = (1, 8, 32, 128)
ROWS = (4, 32, 128, 512)
HIDDEN, INNER, VOCABULARY = 4096, 14336, 32000
REPEATS = 20


def steps(session: Session) -> Iterator[Step]:
    """A step for each number of rows."""
    for slots in (1, 2) if session.quick else SLOTS:
        yield Step(f"attention, {slots * WIDTH * SUCCESSORS} rows", partial(attentions, session, slots), seconds=15)
    for rows in (4,) if session.quick else ROWS:
        yield Step(f"products, {rows} rows", partial(products, session, rows), seconds=3)
    for rows in (4,) if session.quick else (128, 512):
        yield Step(f"the draw, {rows} rows", partial(draws, session, rows), seconds=15)


def attentions(session: Session, slots: int) -> dict:
    """Seconds of every way at one shape, and how far each is from the decoder's in float32."""
    sizes = (5, 7, 3) if session.quick else COLUMNS
    shape = (slots, 2, 2, 16) if session.quick else (slots, HEADS, GROUPS, HEAD_WIDTH)
    made = attention.problem(*shape, sizes, session.dtype, session.device, (WIDTH, SUCCESSORS))
    expected = attention.prepare_segments(made.float())()
    ways: dict[str, Callable] = {
        "segments": attention.prepare_segments,
        "segments, compiled": lambda p: torch.compile(attention.prepare_segments(p), dynamic=False),
        "copies": attention.prepare_copies,
        "merged, products": partial(attention.prepare_merged, partial=attention.plain_partial),
    }
    if session.cuda:
        ways["merged, efficient"] = partial(attention.prepare_merged, partial=attention.efficient_partial)
        ways["merged, flash"] = partial(attention.prepare_merged, partial=attention.flash_partial)
        ways["flex"] = attention.prepare_flex
    elif session.quick:
        del ways["segments, compiled"]
    figures = {name: _measured(session, way, made, expected) for name, way in ways.items()}
    return {"rows": slots * WIDTH * SUCCESSORS, "ways": figures}


@torch.inference_mode()
def _measured(session: Session, prepare: Callable, made: attention.Problem, expected: torch.Tensor) -> dict:
    try:
        run = prepare(made)
        found = run()
        worst = float((found.float() - expected).abs().max() / expected.abs().max())
        return {"seconds": _seconds(session, run), "differs_by": worst}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def products(session: Session, rows: int) -> dict:
    """A layer's widest product with weights of 16 and of 8 bits; the weights are read from memory each time."""
    inner, hidden = (64, 32) if session.quick else (INNER, HIDDEN)
    x = torch.randn(rows, hidden, device=session.device).to(session.dtype)
    weight = torch.randn(inner, hidden, device=session.device).to(session.dtype)
    padded = torch.nn.functional.pad(x, (0, 0, 0, max(0, 32 - rows)))  # what the kernels of 8 bits want at least
    one = torch.ones((), device=session.device)
    scale = torch.ones(inner, device=session.device, dtype=session.dtype)
    integer = weight.clamp(-1, 1).mul(127).to(torch.int8)

    def fp8() -> Callable:
        narrow = [v.to(torch.float8_e4m3fn) for v in (padded, weight)]
        return lambda: torch._scaled_mm(narrow[0], narrow[1].t(), one, one, out_dtype=session.dtype)

    def int8() -> Callable:
        narrow = padded.clamp(-1, 1).mul(127).to(torch.int8)
        return lambda: torch._int_mm(narrow, integer.t())

    ways: dict[str, Callable] = {
        "bfloat16": lambda: lambda: x @ weight.t(),
        "fp8": fp8,
        "int8 both": int8,
        "int8 weights": lambda: lambda: torch._weight_int8pack_mm(x, integer, scale),
    }
    return {"rows": rows, "ways": {name: _product(session, way) for name, way in ways.items()}}


@torch.inference_mode()
def _product(session: Session, prepare: Callable) -> dict:
    try:
        run = prepare()
        run()
        return {"seconds": _seconds(session, run)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def draws(session: Session, rows: int) -> dict:
    """The draw of IVG's next token from three models' logits, as it is and compiled."""
    from guiders import Sampling
    from guiders.decoding.next_token import next_token

    guider = session.guider("ivg")
    logits = [torch.randn(rows, guider.vocabulary, device=session.device).to(session.dtype) for _ in range(3)]
    numbers = torch.rand(rows, 1, dtype=torch.float64, device=session.device)

    def draw() -> torch.Tensor:
        return next_token(guider, Sampling(), logits, numbers, kl=True).tokens

    ways: dict[str, Callable] = {"eager": lambda: draw}
    if session.cuda:
        ways["compiled"] = lambda: torch.compile(draw, dynamic=False)
    return {"rows": rows, "ways": {name: _product(session, way) for name, way in ways.items()}}


def _seconds(session: Session, run: Callable) -> float:
    """Of one run that has run before, replayed as a graph where that can be: launches are not what is compared."""
    if session.cuda:
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                for _ in range(REPEATS):
                    run()
            return best(graph.replay, session.device, "wall") / REPEATS
        except RuntimeError:
            torch.cuda.synchronize(session.device)
    return best(lambda: [run() for _ in range(REPEATS)], session.device, "wall") / REPEATS
