"""What nodes get from a `connect` of an application."""

import asyncio
from typing import Any

import pytest

from pada_agent.core.config import RunConfig
from pada_agent.core.errors import PartError
from pada_agent.graph.node_binding import using, using_async


async def connect_later(_: RunConfig) -> None: ...


@pytest.mark.parametrize(("connect", "told"), [(lambda _: None, "not None"), (connect_later, "not a coroutine")])
def test_a_connect_that_returns_no_adapters_is_named(connect: Any, told: str) -> None:
    expected = f"^connect must return a value of type Adapters, {told}"
    with pytest.raises(PartError, match=expected), using(connect, RunConfig()):
        pass

    async def use() -> None:
        async with using_async(connect, RunConfig()):
            pass

    with pytest.raises(PartError, match=expected):
        asyncio.run(use())
