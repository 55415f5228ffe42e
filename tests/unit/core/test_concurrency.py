import subprocess
import sys
from threading import Event

import pytest

from pada_agent.core.concurrency import map_concurrently


def test_results_are_in_the_order_of_the_items() -> None:
    assert map_concurrently(lambda n: n * n, range(100)) == [n * n for n in range(100)]
    assert map_concurrently(str, []) == []


def test_after_a_failure_no_further_item_is_begun() -> None:
    """A full disk must not let the queue go on paying for answers that cannot be kept."""
    begun, gate = [], Event()

    def work(n: int) -> int:
        begun.append(n)
        if n == 0:
            gate.set()
            raise OSError("No space left on device")
        gate.wait(5)
        return n

    with pytest.raises(OSError, match="No space left"):
        map_concurrently(work, range(500), workers=2)
    assert len(begun) < 20


def test_an_interruption_waits_for_the_calls_under_way() -> None:
    program = (
        "import os, signal, time\n"
        "from pada_agent.core.concurrency import map_concurrently\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a parent may have left it ignored
        "def call(i):\n"
        "    time.sleep(0.2)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(0.5)\n"
        "    print('paid and kept', flush=True)\n"
        "try:\n"
        "    map_concurrently(call, [0])\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.split("\n") == ["paid and kept", "interrupted", ""]
