"""The verb ``bench``: how fast the decoder is, beside plain and naive decoding and beside what the machine can do."""


def main(arguments: list[str]) -> int:
    """``python -m harness bench bench.base=llama-85m bench.rounds=5``"""
    # inside: benchmarks.gpu imports from this folder where hydra and pydantic are not installed
    from harness.bench.settings import BenchFile
    from harness.config.compose import compose
    from harness.config.schema import validated

    spec = validated(BenchFile, compose("bench", arguments).config).bench.resolved()
    # torch only once there is something to measure
    from harness.bench.run import measure
    from harness.bench.tables import show

    result = measure(spec)
    path = result.write()
    show(result)
    print(f"figures: {path}")
    return 0
