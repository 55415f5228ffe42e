"""Who may use the server, and what belongs to whom: tokens from the environment, one owner per thread.

`PADA_TOKENS="alice:<token>,bob:<token>"` names the users. A real deployment asks its identity provider in `authenticate`;
the rest stays the same.
"""

import hmac
import os
from typing import Any

from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def authenticate(authorization: str | None) -> Auth.types.MinimalUserDict:
    """The user behind `Authorization: Bearer <token>`; 401 for anybody else."""
    scheme, _, token = (authorization or "").partition(" ")
    known = [pair.strip().partition(":") for pair in os.environ.get("PADA_TOKENS", "").split(",")]
    for user, _, expected in known:
        if scheme.lower() == "bearer" and expected and hmac.compare_digest(token.encode(), expected.encode()):
            return {"identity": user, "is_authenticated": True}
    raise Auth.exceptions.HTTPException(status_code=401, detail="Send the header Authorization: Bearer <your token>")


@auth.on
async def refuse(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> bool:
    """What no rule below allows: crons, and whatever a later version of the server adds."""
    del ctx, value
    return False


@auth.on.threads
async def own_threads(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> dict[str, str]:
    """Threads and their runs belong to who made them; others do not even see that they exist."""
    owner = {"owner": ctx.user.identity}
    value.setdefault("metadata", {}).update(owner)  # in place: the server keeps its own reference
    return owner


@auth.on.assistants.read
@auth.on.assistants.search
async def any_assistant(ctx: Auth.types.AuthContext, value: Any) -> bool:
    """Everybody may use the graph. Nobody may create an assistant, because everybody would see its settings."""
    del ctx, value
    return True


@auth.on.store
async def own_store(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    """Each user's items are stored under the user's name."""
    value["namespace"] = (ctx.user.identity, *(value.get("namespace") or ()))
