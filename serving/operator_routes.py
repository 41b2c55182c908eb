"""What operators ask: the store and its generations, the model and the policy that serve."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from pix.contracts import canonical_json, parse_json_object
from pix.contracts.fields import validated
from pix.features import FINGERPRINT
from pix.store.errors import StoreError
from pix.store.generation import Generation
from serving.bodies import body_of
from serving.keeper import Order, StoreKeeper
from serving.messages import Rebuild, RollBack
from serving.running import running_of
from serving.status import of_store


async def rebuild_store(request: Request) -> Response:
    """``POST /v1/store:rebuild``: build the next generation from base, lake and logs; ``GET /v1/store`` follows it."""
    asked = validated(Rebuild, parse_json_object(await body_of(request)))
    order = Order(version=asked.version, is_forced=asked.force, accept_gaps=asked.accept_gaps)
    generation, work = await asyncio.to_thread(_keeper(request).begin, order)
    return _started(request, generation, work)


async def roll_back_store(request: Request) -> Response:
    """``POST /v1/store:roll-back``: bring a retired generation to the logs' end and return to it."""
    asked = validated(RollBack, parse_json_object(await body_of(request)))
    generation, work = await asyncio.to_thread(_keeper(request).roll_back, asked.generation)
    return _started(request, generation, work)


def _keeper(request: Request) -> StoreKeeper:
    keeper = running_of(request).keeper
    if keeper is None:
        raise StoreError("this service keeps no store")
    return keeper


def _started(request: Request, generation: Generation, work: Callable[[], None] | None) -> Response:
    if work is not None:
        task = asyncio.get_running_loop().run_in_executor(None, work)
        running = running_of(request)
        running.builds.add(task)
        task.add_done_callback(running.builds.discard)
    return _json({"generation": generation.number, "already_built": work is None})


async def store_status(request: Request) -> Response:
    """``GET /v1/store``: what the online store holds."""
    running = running_of(request)
    problem = running.keeper.problem if running.keeper else None
    parts = (running.pipeline.store, problem, running.outage, running.breakers)
    return _json(await asyncio.to_thread(of_store, *parts))


async def model_status(request: Request) -> Response:
    """``GET /v1/model``: champion and challenger, when they were loaded and from where."""
    models = running_of(request).models
    held = models.described() if models is not None else {"model": None, "challenger": None}
    return _json({**held, "feature_fingerprint": FINGERPRINT})


async def policy_status(request: Request) -> Response:
    """``GET /v1/policy``: the policy that applies, and what is wrong with its file."""
    running = running_of(request)
    if running.policies is not None:
        return _json(running.policies.described())
    unchanging: dict[str, object] = {"loaded_at_ms": None, "problem": None, "warnings": []}
    return _json({**running.pipeline.policy().described(), **unchanging})


def _json(content: object) -> Response:
    return Response(canonical_json(content), media_type="application/json")
