"""What the agent does, and what the admin does with its state and its key."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3

from heliograph.consent.level import Level
from heliograph.instance.agent import Left
from heliograph.instance.state import StateError
from heliograph.instance.transport import SupersededError, TransportError
from simulation.broken import BrokenPromiseError
from simulation.operations.operation import Operations
from simulation.processes import CrashError, Fault


class AgentOperations(Operations):
    """The agent."""

    def start_agent(self, _a: int, _b: int) -> None:
        if self.world.agent is None:
            with contextlib.suppress(CrashError, OSError, sqlite3.Error, StateError):
                self._arm(self.world.start_agent())

    def kill_agent(self, _a: int, _b: int) -> None:
        self.world.kill_agent()

    def stop_agent(self, _a: int, _b: int) -> None:
        if self.world.agent is not None:
            process, agent = self.world.agent
            with self._acting(process):
                agent.close()
            self.world.kill_agent()

    def second_agent(self, _a: int, _b: int) -> None:
        """With the same state: it must not start."""
        if self.world.agent is None:
            return
        first = self.world.agent
        with contextlib.suppress(StateError):
            self.world.start_agent()
            raise BrokenPromiseError("a second agent has started with the same state")
        self.world.agent = first

    def round(self, a: int, b: int) -> None:
        for _ in range(1 + a % 3):
            self.one_round()

    def round_and_die(self, _a: int, b: int) -> None:
        """Let the agent die behind so many operations of a round, as `load_and_die` does the loader."""
        self.start_agent(0, 0)
        self._armed["agent"] = (Fault.AFTER, b)
        self.one_round()
        self._armed.clear()
        self.world.kill_agent()

    def one_round(self) -> Left:
        self.start_agent(0, 0)
        if self.world.agent is None:
            return Left.SOME
        process, agent = self.world.agent
        self._arm(process)
        whole = stops = False
        left = Left.SOME
        try:
            with self._acting(process):
                left = agent.round()
            whole = True
        except CrashError:
            pass
        except (TransportError, OSError, sqlite3.Error) as error:
            self.world.stage.note("the agent waits:", f"{type(error).__name__}: {error}"[:200])
            stops = isinstance(error, SupersededError)
            if stops and not self.oracle.was_restored:
                raise BrokenPromiseError("the only agent that lives was told that another one sends") from error
            # An old copy of the state knows nothing of those that began since, of which one that is dead may still be
            # heard, and counts as another agent: somebody starts this again.
        word = agent._word
        if word is None or (not word.refuses(Level.EVENTS) and word.level is not Level.EVENTS):
            no = None
        else:
            no = word.refuses(Level.EVENTS)
        self.oracle.heard(self.world.time + self.world.instance_skew, no=no, whole=whole)
        if process.is_alive:
            self.oracle.ledger.look()
        if stops or not process.is_alive:
            self.world.kill_agent()
        if stops:
            self.start_agent(0, 0)
            return Left.MORE
        return left

    def audit(self, _a: int, _b: int) -> None:
        """Let the customer's auditor look at the ledger, whoever is at work meanwhile."""
        self.oracle.check_ledger()

    def new_instance_key(self, _a: int, _b: int) -> None:
        """Let the admin replace the instance's key; the vendor hears of it later."""
        self.world.new_instance_key()

    def register_instance_key(self, _a: int, _b: int) -> None:
        self.world.registry.use_key(self.world.instance_key)

    def save_state(self, _a: int, _b: int) -> None:
        if self.world.agent is not None and not self._copy:
            copy = sqlite3.connect(self.world.folder / "copy.db")
            self.world.agent[1]._state.connection.backup(copy)
            copy.close()
            self._copy = True

    def restore_state(self, _a: int, _b: int) -> None:
        if self._copy:
            self.world.kill_agent()
            for file in self.world.state.glob("agent.db*"):
                file.unlink()
            shutil.copy(self.world.folder / "copy.db", self.world.state / "agent.db")
            self.oracle.restore()
