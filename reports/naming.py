"""What figures are called, their units, and how many places are shown."""

NAMES = {
    "gold_reward": "gold reward",
    "win_rate": "win rate",
    "lc_win_rate": "length-controlled win rate",
    "kl": "KL to the base",
    "tokens_per_second": "tokens/s",
    "forward_passes_per_token": "passes/token",
    "value": "proxy value",
    "distortion": "distortion, estimated",
}
UNITS = {"win_rate": "%", "lc_win_rate": "%", "kl": "nats", "distortion": "nats", "length": "characters"}
WIN_RATES = ("win_rate", "lc_win_rate")
ARROWS = {"higher": "↑", "lower": "↓"}


def figure_name(name: str) -> str:
    """A figure's name in prose."""
    return NAMES.get(name, name.replace("_", " "))


def digits(name: str, value: float) -> str:
    """A figure as it is read: three significant places or so, a true minus sign."""
    size = abs(value)
    places = 0 if name == "length" or size >= 100 else 1 if name.endswith("win_rate") or size >= 10 else 2
    text = f"{value:,.{places}f}".replace("-", "−")
    return text.replace("−", "", 1) if not text.strip("−0.,") else text


def counted(n: int, noun: str) -> str:
    """ "1 setting", "2 settings"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
