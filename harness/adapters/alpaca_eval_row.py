"""A leaderboard row computed by alpaca_eval itself, from the files of a submission."""

import contextlib
import gzip
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from harness.adapters.annotators import _quiet


def alpaca_eval_row(model_outputs: Path, annotations: Path) -> dict:
    """The row that alpaca_eval computes for a submission's files: win rates in percent.

    alpaca_eval's own loader and metric, with two things kept from it: the download of the gamed baselines that its
    length control is calibrated on (it gets those that ship with this project), and the writing of fitted weights into
    its own package.
    """
    with _quiet():
        import sklearn
        from alpaca_eval import metrics, utils

        outputs = utils.load_or_convert_to_dataframe(model_outputs)
        frame = utils.load_or_convert_to_dataframe(annotations)
        # The metric switches scikit-learn's metadata routing on for the whole process.
        with sklearn.config_context(), _shipped_calibration():
            row = metrics.get_length_controlled_winrate(frame, save_weights_dir=None)
    return {**row, "mode": "community", "avg_length": int(outputs["output"].str.len().mean())}


@contextlib.contextmanager
def _shipped_calibration() -> Iterator[None]:
    from alpaca_eval.metrics import glm_winrate

    download = glm_winrate.hf_hub_download
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "df_gamed.csv"
        shipped = resources.files("reports").joinpath("data", "gamed_baselines.csv.gz")
        file.write_bytes(gzip.decompress(shipped.read_bytes()))
        glm_winrate.hf_hub_download = lambda **_: str(file)
        try:
            yield
        finally:
            glm_winrate.hf_hub_download = download
