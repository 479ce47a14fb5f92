"""Whether a device is there, before anything is loaded onto it."""

from harness.errors import UserError


def checked(device: str) -> str:
    """The device's name as it was given: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        UserError: torch knows no such device, or this machine has none.
    """
    if device == "cpu":
        return device
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # the last two: a torch built without it
        raise UserError(f"device={device}: not on this machine, or not in this torch; set device=cpu") from None
    return device
