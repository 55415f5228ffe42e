"""Recognizes that memory or disk space ran out, on each device and from each library."""

import errno

import torch


def is_out_of_memory(exc: BaseException) -> bool:
    """CUDA has a class for it; on CPU, torch's allocator raises a RuntimeError whose wording depends on the platform.

    Ending the recording of a CUDA graph may fail in turn; the out-of-memory error is then the context of that error.
    """
    if isinstance(exc, torch.cuda.OutOfMemoryError):
        return True
    if isinstance(exc, RuntimeError) and "memory: you tried to allocate" in str(exc):
        return True
    return exc.__context__ is not None and is_out_of_memory(exc.__context__)


def is_disk_full(exc: BaseException) -> bool:
    """An OSError has a number for it; safetensors has its own error with that number in its text; torch raises another in
    its context."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(exc, OSError):
        return exc.errno in numbers
    if type(exc).__name__ == "SafetensorError":
        return any(f"os error {number})" in str(exc) for number in numbers)
    return isinstance(exc, RuntimeError) and exc.__context__ is not None and is_disk_full(exc.__context__)
