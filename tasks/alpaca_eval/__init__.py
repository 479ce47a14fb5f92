"""AlpacaEval 2: 805 instructions, whose responses a language model compares with a reference."""
