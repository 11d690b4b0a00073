"""The gateway of the simulated vendor with several workers: each reaches the one writer over a link.

Writer and workers are the product's own; all of them run in one event loop, each in the name of its own process. The
links stand for sockets: nothing arrives on one until everybody waits, and then chance says on which. So a worker may
check what another has stored meanwhile, die between two messages, or wait while others get on.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import httpx

from heliograph.gateway.link import RemoteWriter, WriterService
from heliograph.gateway.server import build_gateway, open_log
from heliograph.gateway.writer import LocalWriter
from simulation.erasing import quiet
from simulation.gateway import RunningGateway
from simulation.links import Link, Way
from simulation.network import ask_one
from simulation.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heliograph.gateway.app import Gateway
    from heliograph.gateway.log_entries import Stored
    from heliograph.gateway.plans import PlanInForce
    from simulation.ground import Ground
    from simulation.network import Sent, Told

_GIVES_UP: Final = 0.7
"""So often does whoever asked give up when only a slow link has more."""
_STARTS_AGAIN: Final = 0.7
"""So often is a worker that has ended there again before the next request."""


class Worker:
    """One worker, and the way to it."""

    def __init__(self, process: Process, app: Gateway, writer: RemoteWriter, link: Link) -> None:
        self.process: Final = process
        self.app: Final = app
        self.writer: Final = writer
        self.link: Final = link

    @property
    def is_good(self) -> bool:
        """Whether it lives, and has a writer."""
        return self.process.is_alive and not self.writer.ended.done()


class GatewayOfWorkers(RunningGateway):
    """A gateway of a writer and workers.

    Args:
        ground: What it stands on.
        process: The writer.
        plans: What may be stored.
        number: How many workers there are.
    """

    def __init__(self, ground: Ground, process: Process, plans: PlanInForce, number: int) -> None:
        super().__init__(ground, process, plans)
        self._number = number
        self.workers: list[Worker] = []
        self._appending = 0
        """How much the log has yet to write, or to refuse."""
        self._appended = self._loop.create_future()

    def processes(self) -> list[Process]:
        """See `RunningGateway.processes`."""
        return [self.process, *(worker.process for worker in self.workers)]

    def begin(self) -> None:
        """See `RunningGateway.begin`."""
        ground = self._ground
        with ground.stage.act(self.process):
            log = self._stack.enter_context(closing(open_log(ground.settings.gateway, now=ground.vendor_now)))
        self.writer = LocalWriter(quiet(log))
        self._count_what_is_appended()
        self._loop.run_until_complete(self._start_missing())

    def stop(self) -> None:
        """See `RunningGateway.stop`."""
        self.finish()
        super().stop()

    def end(self) -> None:
        """See `RunningGateway.end`."""
        for worker in self.workers:
            worker.process.is_alive = False
        super().end()

    def ask(self, requests: Sequence[Sent]) -> Told:
        """See `RunningGateway.ask`: each request goes to another worker, where there are more."""
        return self._loop.run_until_complete(self._ask(requests))

    def finish(self) -> None:
        """See `RunningGateway.finish`."""
        for worker in self.workers:
            worker.link.be_slow(slow=False)
        self._loop.run_until_complete(self._move(lambda: False))

    # Workers.

    async def _start_missing(self) -> None:
        for place in range(self._number):
            if place >= len(self.workers):
                self.workers.append(self._start(place))
            elif not self.workers[place].is_good:
                self.workers[place].process.is_alive = False
                self.workers[place] = self._start(place)

    def _start(self, place: int) -> Worker:
        ground, stage = self._ground, self._ground.stage
        process = Process(f"worker-{place + 1}", stage)
        questions, answers = asyncio.StreamReader(), asyncio.StreamReader()
        link = Link(Way(process, self.process, questions), Way(self.process, process, answers))
        with stage.act(self.process):
            service = WriterService(self.writer, lambda _: None)
            self._loop.create_task(service.answer(questions, link.answers))
        registry: Any = ground.registry  # stands for the view on it
        with stage.act(process):
            writer = RemoteWriter(answers, link.questions)
            app = build_gateway(ground.settings.gateway, self.plans, registry, writer, now=ground.vendor_now)
        return Worker(process, app, writer, link)

    # Requests.

    async def _ask(self, requests: Sequence[Sent]) -> Told:
        chance, stage = self._ground.chance, self._ground.stage
        alive = [worker for worker in self.workers if worker.process.is_alive]
        if not alive or chance.random() < _STARTS_AGAIN:
            await self._start_missing()
            alive = self.workers
        first = chance.randrange(len(alive))
        asked: list[tuple[Worker, asyncio.Task[Told]]] = []
        for number, sent in enumerate(requests):
            worker = alive[(first + number) % len(alive)]
            with stage.act(worker.process):
                asked.append((worker, self._loop.create_task(ask_one(worker.app, sent))))
        await self._move(lambda: all(task.done() or not worker.process.is_alive for worker, task in asked))
        worker, task = asked[-1]
        if not worker.process.is_alive:
            raise httpx.ReadError("the connection was reset")
        if not task.done():  # what it has begun goes on, as it does when a client goes away
            raise httpx.ReadTimeout("the answer does not come")
        return task.result()

    # What moves.

    async def _move(self, is_over: Callable[[], bool]) -> None:
        """Let messages arrive, one after the other, until something is over or nothing moves any more."""
        chance = self._ground.chance
        while True:
            await self._wait_for_all()
            if is_over():
                return
            ways = [way for worker in self.workers for way in worker.link if way.has_more()]
            quick = [way for way in ways if not way.is_slow]
            if quick:
                chance.choice(quick).arrive(chance)
            elif not ways or chance.random() < _GIVES_UP:
                return
            else:
                for worker in self.workers:
                    worker.link.be_slow(slow=False)

    async def _wait_for_all(self) -> None:
        """Return once everybody waits for a message: what the log is about to write is written."""
        ready: Any = self._loop._ready  # type: ignore[attr-defined] # what is to run next
        while True:
            await asyncio.sleep(0)
            if ready:
                continue
            if not self._appending or self._died.done():
                return
            self._appended = self._loop.create_future()
            await asyncio.wait([self._died, self._appended], return_when=asyncio.FIRST_COMPLETED)

    def _count_what_is_appended(self) -> None:
        really = self.log.append

        async def append(entry: Stored, body: bytes) -> None:
            self._appending += 1
            try:
                await really(entry, body)
            finally:
                self._appending -= 1
                if not self._appended.done():
                    self._appended.set_result(None)

        self.log.append = append  # type: ignore[method-assign] # it is asked by the writer alone
