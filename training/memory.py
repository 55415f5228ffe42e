"""What running out of memory or disk looks like, on each device and from each library."""

import errno

import torch


def is_out_of_memory(exc: BaseException) -> bool:
    """CUDA has a class for it; on CPU torch's allocator raises a RuntimeError, worded by platform.

    Ending the recording of a CUDA graph may fail in turn: then it stands behind that error.
    """
    if isinstance(exc, torch.cuda.OutOfMemoryError):
        return True
    if isinstance(exc, RuntimeError) and "memory: you tried to allocate" in str(exc):
        return True
    return exc.__context__ is not None and is_out_of_memory(exc.__context__)


def is_disk_full(exc: BaseException) -> bool:
    """An OSError says so by number; safetensors has an error of its own, with the number in its text."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(exc, OSError):
        return exc.errno in numbers
    return type(exc).__name__ == "SafetensorError" and any(f"os error {number})" in str(exc) for number in numbers)
