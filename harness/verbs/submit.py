"""The verb ``submit``: the files of a leaderboard submission, validated and read back."""

from harness.submission.files import submission, write_submission


def main(arguments: list[str]) -> int:
    """``python -m harness submit run=runs/NAME name=NAME link=URL``"""
    for path in write_submission(submission(arguments)):
        print(f"written: {path}")
    return 0
