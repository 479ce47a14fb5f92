"""Whether a device is there, before anything is loaded onto it."""

from harness.errors import UserError


def known(device: str) -> str:
    """The device's name as it was given, whether this machine has one or not: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        UserError: torch knows no such kind of device.
    """
    import torch

    try:
        torch.device(device)
    except RuntimeError:
        raise UserError(f"device={device}: torch knows no such device; set device=cpu, cuda, cuda:1 or mps") from None
    return device


def is_there(device: str) -> bool:
    """Whether this machine has the device, and this torch can use it."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # the last two: a torch built without it
        return False
    return True


def checked(device: str) -> str:
    """The device's name as it was given.

    Raises:
        UserError: torch knows no such device, or this machine has none.
    """
    if device == "cpu":
        return device
    if not is_there(known(device)):
        raise UserError(f"device={device}: not on this machine, or not in this torch; set device=cpu")
    return device
