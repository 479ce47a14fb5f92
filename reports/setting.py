"""What a setting is called, and how many rows of the batch it spends on a prompt."""

from dataclasses import dataclass, field

ABBREVIATIONS = {"ivg": "IVG", "eft": "EFT", "cbs": "CBS", "n": "N"}


@dataclass(frozen=True)
class RecordedSetting:
    """One way of guiding: a trial without its seed and its split.

    Attributes:
        id, method: as in the trial.
        axes: the settings that the sweep varied.
        weight: the token guidance's weight, or None where there is none.
        width, successors, chunk: W, K and L of a chunk beam, or None.
        n: N of best-of-N, or None.
        recorded_rows: rows of the batch per prompt as the search said; None in runs of before that was recorded.
        run: the run's name where several are compared, else empty.
        base: the model that is guided, by its revision; None where the trial does not say.
        constrained: whether responses are held to a constraint.
    """

    id: str
    method: str
    axes: dict = field(default_factory=dict)
    weight: float | None = None
    width: float | None = None
    successors: float | None = None
    chunk: float | None = None
    n: float | None = None
    run: str = ""
    recorded_rows: int | None = None
    base: str | None = None
    constrained: bool = False

    @classmethod
    def of(cls, trial: dict) -> "RecordedSetting":
        """Read a trial's axes; the guider's own configuration wins over the name of an axis."""
        axes = dict(trial.get("settings") or {})
        guider = trial.get("guider") or {}
        token, search = guider.get("token") or {}, guider.get("search") or {}
        base = guider.get("base")
        recorded = trial.get("rows")
        flat = {name.rsplit(".", 1)[-1]: value for name, value in axes.items()}

        def number(name: str, part: dict) -> float | None:
            value = part.get(name, flat.get(name)) if isinstance(part, dict) else flat.get(name)
            return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None

        return cls(
            id=trial["setting"],
            method=trial["method"],
            axes=axes,
            weight=number("weight", token),
            width=number("width", search),
            successors=number("successors", search),
            chunk=number("length", search),
            n=number("n", search),
            base=base.get("revision") if isinstance(base, dict) else None,
            constrained=bool(guider.get("constraint")),
            recorded_rows=recorded if isinstance(recorded, int) and not isinstance(recorded, bool) else None,
        )

    @property
    def rows(self) -> int:
        """Rows of the batch per prompt: as recorded, else W·K, N, or 1."""
        if self.recorded_rows is not None:
            return self.recorded_rows
        if self.width and self.successors:
            return int(self.width * self.successors)
        return int(self.n or 1)

    @property
    def group(self) -> str:
        """The method, told apart by its run where several are compared."""
        return f"{self.run}: {self.method_name}" if self.run else self.method_name

    @property
    def beam(self) -> str:
        """The search in one word: "W 4 · K 4 · L 5", "N 16", or "sample"."""
        if self.width and self.successors:
            chunk = f" · L {self.chunk:g}" if self.chunk else ""
            return f"W {self.width:g} · K {self.successors:g}{chunk}"
        return f"N {self.n:g}" if self.n else "sample"

    @property
    def method_name(self) -> str:
        """The method as it is written in prose."""
        return " ".join(ABBREVIATIONS.get(word, word) for word in self.method.split("_"))

    @property
    def details(self) -> str:
        """What tells this setting from the method's others."""
        parts = [] if self.beam == "sample" else [self.beam]
        if self.weight is not None and not self._weight_by_another_name:
            parts.append(f"weight {self.weight:g}")
        # The guider says what a named beam is: its name would only repeat W, K and L.
        known = {"weight", "n", "width", "successors", "length", *(("beam", "search") if self.beam != "sample" else ())}
        for name, value in self.axes.items():
            if name.rsplit(".", 1)[-1] not in known:
                parts.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
        return " · ".join(parts)

    @property
    def _weight_by_another_name(self) -> bool:
        """Does an axis of another name set the token guidance's weight, as a share λ does?"""
        names = {name.rsplit(".", 1)[-1]: value for name, value in self.axes.items()}
        return "weight" not in names and self.weight in names.values()

    @property
    def label(self) -> str:
        """Method and details in one line."""
        return f"{self.group} · {self.details}" if self.details else self.group
