"""Gate and AsyncGate: the same operations over a blocking and over an asyncio wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from decimal import Decimal
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import redis
import redis.asyncio

from gate.client import acts, doubtful, looks, policies, settling, verdicts
from gate.client.caller import Caller
from gate.client.guarded import AsyncGuardedPermit, GuardedPermit
from gate.client.halts import halt_in_force
from gate.client.observing import observers
from gate.client.services import SERVICES, Traces, seen_services
from gate.client.status import status
from gate.client.symbols import known_symbols
from gate.config import Config
from gate.protocol.codec import identify
from gate.protocol.keyspace import DEFAULT_PREFIX, Keyspace
from gate.store.async_server_wire import AsyncServerWire
from gate.store.cluster_wire import AsyncClusterWire, ClusterWire, Slot
from gate.store.connect import connect, connect_async, refuse_cluster_without_hash_tag
from gate.store.server_wire import ServerWire
from gate.store.shapes import as_asked
from gate.store.wire import DEFAULT_TIMEOUT_MS, AsyncWire, Dialogue, Wire
from gate.values.errors import InvalidField
from gate.values.intent import Intent
from gate.values.last_look import LastLook
from gate.values.outcome import Outcome, Settlement
from gate.values.policy import Policy, PolicyInForce
from gate.values.record import Record
from gate.values.reports import Absence, Act, Halt, InDoubt, Inspection, Observer, SeenServices, Status, StillOut
from gate.values.verdict import Permit, Verdict

if TYPE_CHECKING:
    from gate.client.leftovers import Looked
    from gate.store.embedded import EmbeddedStore
    from gate.values.audit import Audit
    from gate.values.diagnosis import Diagnosis
    from gate.values.found_order import AsyncFindOrder, FindOrder
    from gate.values.leftovers import Leftovers
    from gate.values.recent import RecentIntents

# What only a person asks is imported where it is asked, since it takes a tenth of the time in which a gate is loaded.
# What a worker calls, status included, and every act is loaded with the gate: when it is needed, the package's files
# may be gone. (What clears leftovers is loaded by who has found them.)

T = TypeVar("T")


def _keyspace(prefix: str, policy: Policy | None) -> Keyspace:
    if policy is not None and not isinstance(policy, Policy):
        raise InvalidField("policy", policy, "is not a Policy; of a mapping, Policy.from_mapping makes one")
    return Keyspace(prefix, observing=policy is not None and policy.observes)


def _configured(file: str | PathLike[str] | None) -> tuple[str, str, Policy | None]:
    config = Config.read(file)
    return config.store_url, config.prefix, config.pinned


class Gate:
    """The gate of one account, for threads. Close it, or use it in a `with` block."""

    def __init__(
        self,
        *,
        client: redis.Redis | redis.RedisCluster,
        prefix: str = DEFAULT_PREFIX,
        policy: Policy | None = None,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        find_order: FindOrder | None = None,
    ) -> None:
        """Makes a gate with the address and credentials of a redis-py client.

        Without `policy`, the caller follows the one in force, and a new one without a denial; where none is, its first
        admission puts the defaults in force. With it, the caller is pinned: while another is in force, the gate denies
        its entries POLICY_MISMATCH.

        The gate opens its own connections. `timeout_ms` limits connecting, and limits each wait for an answer.
        `find_order` asks the exchange for an order, for the blocks of `guard`: gate.exchange.order_finder has it for
        python-binance. Raises InvalidField for a cluster with a prefix that has no hash tag.
        """
        keyspace = _keyspace(prefix, policy)
        if isinstance(client, redis.RedisCluster):
            refuse_cluster_without_hash_tag(keyspace)
            slot = Slot(lambda: client, keyspace.state, timeout_ms, identify(keyspace), owns_client=False)
            wire: Wire = ClusterWire(slot)
        else:
            wire = ServerWire(client, timeout_ms, identify(keyspace))
        self._set_up(wire, None, prefix, policy, find_order)

    def _set_up(
        self,
        wire: Wire,
        embedded: EmbeddedStore | None,
        prefix: str,
        policy: Policy | None,
        find_order: FindOrder | None,
    ) -> None:
        self._wire = wire
        self._embedded = embedded
        self._caller = Caller(prefix, policy)
        self._traces = Traces(prefix)
        # To the keys that stand beside the account's own. In a cluster these have a slot of their own.
        self._beside = wire.beside(SERVICES, identify(Keyspace(SERVICES))) if isinstance(wire, ClusterWire) else wire
        self._find_order = find_order

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        policy: Policy | None = None,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        find_order: FindOrder | None = None,
    ) -> Gate:
        """On the store at a URL; gate.store lists the forms. Connects at the first call. Raises InvalidField."""
        gate = cls.__new__(cls)
        gate._set_up(*connect(url, _keyspace(prefix, policy), timeout_ms), prefix, policy, find_order)
        return gate

    @classmethod
    def from_config(
        cls,
        file: str | PathLike[str] | None = None,
        *,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        find_order: FindOrder | None = None,
    ) -> Gate:
        """On the store, for the account and under the policy that the command line would take, from the same TOML file.

        The file is `file`, else that of GATE_CONFIG. GATE_URL (or REDIS_URL) and GATE_PREFIX win over it. Without a
        figure in its table `[policy]`, the caller follows the policy in force. Raises InvalidConfig, which names every
        fault, and InvalidField.
        """
        url, prefix, policy = _configured(file)
        return cls.from_url(url, prefix=prefix, policy=policy, timeout_ms=timeout_ms, find_order=find_order)

    @property
    def policy(self) -> Policy:
        """The policy of this caller: its own, or without one the policy in force, as it has last seen it."""
        return self._caller.policy

    @property
    def prefix(self) -> str:
        """The key prefix: the account."""
        return self._caller.keyspace.prefix

    def client_order_id(self, intent_id: str) -> str:
        """The client order id of an intent of this account: the same on every host and for every try. No I/O."""
        return self._caller.keyspace.client_order_id(intent_id)

    def _carry(self, dialogue: Dialogue[T], over: Wire | None = None) -> T:
        wire = over or self._wire
        try:
            command = next(dialogue)
            while True:
                try:
                    reply = as_asked(command, wire.round_trip(command))
                except BaseException as failure:
                    command = dialogue.throw(failure)
                else:
                    command = dialogue.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result

    def evaluate(
        self,
        intent: Intent | Mapping[str, object],
        *,
        reserve: Decimal | None = None,
        placed_after: str | None = None,
    ) -> Verdict:
        """Judges an intent. An admission claims its id, its symbol and side, and its slots in the rate windows.

        Denies for a store failure or bad input; never raises for them. `reserve`: the margin to hold for the intent, in
        the margin asset, if the caller knows a better figure than notional / leverage. `placed_after`: as of last_look;
        the verdict's own look tells the entries then.
        """
        return self._carry(verdicts.evaluate(self._caller, intent, reserve, placed_after))

    def permit_without_store(self, intent: Intent) -> Permit:
        """A permit for an exit that `evaluate` has denied because the store can't be asked or has failed. No I/O.

        Its holder asks the exchange for the client order id first, and sends only what the exchange doesn't have.
        Settle it once the store answers: that writes its record. Two processes may hold one at the same time. Raises
        InvalidField for an entry, and where the policy says that no exit goes without the store.
        """
        return verdicts.permit_without_store(self._caller, intent)

    def settle(self, permit: Permit, outcome: Outcome) -> Settlement:
        """Reports the outcome of an admitted intent. Can be repeated. Never raises for a store failure. Raises
        InvalidField for what is no permit."""
        return self._carry(settling.settle(self._caller, permit, outcome))

    def inspect(self, intent: Intent | Mapping[str, object]) -> Inspection:
        """Returns every guard's answer; writes nothing. Raises StoreFailure, and InvalidIntent, also where the margin
        is above 1e8."""
        return self._carry(looks.inspect(self._caller, Intent.read(intent)))

    def lookup(self, intent_id: str) -> Record | None:
        """The record of an intent, or None. Raises StoreFailure."""
        return self._carry(looks.lookup(self._caller, intent_id))

    def last_look(self, permit: Permit, *, needed_ms: int, placed_after: str | None = None) -> LastLook:
        """Whether the order of a permit may still be sent: asked right before. Never raises for a store failure.

        `needed_ms`: how long from now the exchange may still accept the order. `placed_after`: tells the entries
        that were placed since an earlier look, whose PlacedOrders.newest it is; empty for the first look.
        """
        return self._carry(looks.last_look(self._caller, permit, needed_ms, placed_after))

    def give_back(self) -> int:
        """Gives back what the store has admitted and this process hasn't heard of, because the answers were lost.

        Every evaluation of an entry does this first. A process that waits for its next intent calls it from time to
        time, so that nothing is held meanwhile. Returns how many claims are gone. Never raises for a store failure.
        """
        return self._carry(settling.give_back(self._caller))

    def status(self) -> Status:
        """Every switch, lock and window that is on, with the time it has left. Raises StoreFailure."""
        return self._carry(status(self._caller))

    def ever_run(self) -> bool:
        """Whether anything was ever admitted under the prefix. Raises StoreFailure."""
        return self._carry(looks.ever_run(self._caller))

    def halt_in_force(self) -> Halt | None:
        """The halt that is on, or None. Quicker than status. Raises StoreFailure.

        A halt with a damaged key has `?` as scope and author.
        """
        return self._carry(halt_in_force(self._caller.keyspace))

    def in_doubt(self, at_most: int = 100, skip: int = 0) -> InDoubt:
        """Permits past their deadline without a final outcome, the oldest first: `at_most`, after `skip` of them.

        Raises InvalidField, StoreFailure.
        """
        return self._carry(doubtful.in_doubt(self._caller, at_most, skip))

    def absences(self, within_ms: int, known: Collection[str] = ()) -> tuple[Absence, ...]:
        """What any process has settled as absent lately, the newest first, 1,000 at most. Raises StoreFailure.

        `known`: entries of the audit that the caller has seen. Their permits aren't read again.
        """
        return self._carry(doubtful.absences(self._caller, within_ms, known))

    def audit(self, at_most: int = 100, *, within_ms: int | None = None) -> Audit:
        """What people and trips did, the oldest first: the latest `at_most` entries, 10,000 at most.

        `within_ms`: only what is no older. Raises InvalidField, and StoreFailure where nothing can be read.
        """
        from gate.client.audit import audit

        return self._carry(audit(self._caller.keyspace.prefix, at_most, within_ms))

    def recent_intents(
        self, at_most: int = 100, *, symbol: str | None = None, looked: Looked | None = None
    ) -> RecentIntents:
        """The intents that were admitted last, of one symbol or of all, with what became of each: 10,000 at most.

        Finds them by SCAN. `looked` is told from time to time how many records have been looked at. Raises
        InvalidField, StoreFailure.
        """
        from gate.client.recent import recent_intents

        return self._carry(recent_intents(self._caller, at_most, symbol, looked))

    def halt(self, *, by: str, reason: str, scope: str = "entries") -> Act:
        """Stops entries until `resume`; with scope `all` it stops exits too. Raises InvalidField, StoreFailure.

        Like every act, it takes effect at once, then waits until replicas and disk have it, 1.5 s at most:
        `Act.copies` tells.
        """
        return self._carry(acts.halt(self._caller, by, reason, scope))

    def still_out(self, scope: str = "entries") -> StillOut:
        """Which permits may still send an order, after a halt of that scope. Raises InvalidField, StoreFailure."""
        return self._carry(acts.still_out(self._caller, acts.clearing(self._caller, scope)))

    def until_clear(self, scope: str = "entries", *, told: Callable[[StillOut], None] | None = None) -> StillOut:
        """Waits after a halt until none of its permits can reach the exchange: each is settled, or has run out.

        That takes a permit's life at most, 30 s by default. Returns early where the halt is no longer in force; so look
        at `StillOut.clear`. `told` hears of every look, a few a second. Raises InvalidField, StoreFailure.
        """
        clearing = acts.clearing(self._caller, scope)
        while True:
            out = self._carry(acts.still_out(self._caller, clearing))
            if told is not None:
                told(out)
            pause_s = clearing.pause_s(out)
            if pause_s is None:
                return out
            time.sleep(pause_s)

    def leave_trace(self) -> None:
        """Says that a service is at work under the prefix, at most once a minute. Never raises for a store failure.

        A `guard` does it at its end, an executor all the while. `gate halt` can tell a mistaken prefix by it.
        """
        if self._traces.due:
            self._carry(self._traces.leave(), self._beside)

    def claim_account(self, digest: str) -> str | None:
        """Says that an account of the exchange is kept under the prefix, for five minutes; an executor does it.

        `digest`: of its API key, never the key itself. Returns the other prefix that keeps it; None: there is none, or
        it can't be known. Never raises for a store failure.
        """
        return self._carry(self._traces.claim_account(digest), self._beside)

    def claim_prefix(self, account: str) -> bool:
        """Says that the prefix keeps an account of the exchange, for five minutes; an executor does it.

        `account`: a digest of the exchange's own code of it, the same for each of its API keys. Returns False where the
        prefix keeps another one; True also where that can't be known. Never raises for a store failure.
        """
        return self._carry(self._traces.claim_prefix(account), self._beside)

    def note_account(self, account: str) -> None:
        """Says that the prefix keeps an account of the exchange, for five minutes, and logs it where another prefix
        keeps it, too, by another API key; an executor does it.

        `account`: as of claim_prefix. Never raises for a store failure.
        """
        self._carry(self._traces.note_account(account), self._beside)

    def leave_account(self, digest: str, account: str | None = None, *, at_once: bool = False) -> None:
        """Says that this service keeps the account no more: another prefix may have it after 70 s, unless a service
        under this one renews the claim. With `account`, another account may have the prefix then, too. `at_once`: the
        claims that it has made itself end now, and others stay. Never raises for a store failure."""
        self._carry(self._traces.leave_account(digest, account, at_once=at_once), self._beside)

    def seen_services(self) -> SeenServices:
        """The services that were seen on the store of late, by their prefixes. Raises StoreFailure."""
        return self._carry(seen_services(self.prefix), self._beside)

    def recent_symbols(self) -> list[str]:
        """The symbols of which an order was settled in the last 90 days, the latest first, 1,000 at most. Empty where
        their key is damaged, or the user may not read it. Raises StoreUnavailable."""
        return self._carry(known_symbols(self._caller.keyspace.symbols))

    def resume(self, *, by: str, reason: str) -> Act:
        """Ends a halt. Raises InvalidField, StoreFailure."""
        return self._carry(acts.resume(self._caller, by, reason))

    def note_flatten(self, what: str, *, by: str, reason: str) -> Act:
        """Audits what was cancelled and closed at the exchange, in words. Changes nothing. Raises InvalidField,
        StoreFailure."""
        return self._carry(acts.note_flatten(self._caller, what, by, reason))

    def reset(self, what: str, *, by: str, reason: str) -> Act:
        """Switches off `safe_mode`, `cooldowns`, `failures` or `all`. Raises InvalidField, StoreFailure."""
        return self._carry(acts.reset(self._caller, what, by, reason))

    def policy_in_force(self) -> PolicyInForce | None:
        """The policy in force: its figures, since when, by whom. None where none is in force: until the first entry is
        admitted, or a person applies one. Raises StoreFailure.

        A gate without a policy of its own takes it over. It would do so by itself at its next verdict.
        """
        return self._carry(policies.policy_in_force(self._caller))

    def apply_policy(self, policy: Policy | None = None, *, by: str, reason: str, expected: str = "") -> Act:
        """Puts a policy in force for the account: this one, else the caller's own. Raises InvalidField, StoreFailure.

        `expected`: the fingerprint that is to be replaced, `-` for none. If another is in force by now, it raises
        StoreError and changes nothing.
        """
        return self._carry(acts.apply_policy(self._caller, policy, by, reason, expected))

    def init(self, *, by: str, reason: str) -> Act:
        """Says that the account is new, or that a person has looked: no order of an earlier memory is on its way.

        Ends the wait and the look-ups that follow a loss of memory. Raises InvalidField, StoreFailure.
        """
        return self._carry(acts.init(self._caller, by, reason))

    def observers(self) -> tuple[Observer, ...]:
        """Who has observed the account in the last day: nothing but a halt holds these. Raises StoreUnavailable."""
        return self._carry(observers(self._caller.keyspace.observers))

    def leftovers(self, looked: Looked | None = None) -> Leftovers:
        """What the replaced system has left under the account's names. Only reads. Raises StoreFailure.

        `looked` is told from time to time how many keys have been looked at.
        """
        from gate.client.leftovers import find

        return self._carry(find(Keyspace(self.prefix), looked))

    def diagnose(self, looked: Looked | None = None, *, proof: bool = True) -> Diagnosis:
        """How the account and its store are. Raises StoreUnavailable.

        `proof`: has every guard deny, under a prefix of its own below the account's; without, nothing is written.
        `looked` is told from time to time how many keys have been looked at.
        """
        from gate.client.doctor import diagnose

        return self._carry(diagnose(self._caller, looked, proof=proof))

    def clear_leftovers(self, found: Leftovers, *, by: str, reason: str, others: bool = False) -> Act:
        """Clears leftovers, but for those that lapse by themselves or that another command ends.

        Each is judged once more, so nothing is cleared that is the gate's by now. `others`: also keys of names that the
        gate doesn't have. `Act.changed` has the keys. Raises InvalidField, StoreFailure.
        """
        from gate.client.leftovers import clear

        return self._carry(clear(self._caller, found, by, reason, others=others))

    @contextmanager
    def guard(
        self, intent: Intent | Mapping[str, object], *, find_order: FindOrder | None = None
    ) -> Iterator[GuardedPermit]:
        """Runs a block with the intent's permit. The permit is false when the intent was denied.

        Where the store may have forgotten an order of the intent, it is false too, until `find_order`, this one or the
        gate's, has shown that there is none. An order that it finds is reported as the intent's: reason FOUND. Where it
        can't find out, or there is no `find_order`, the intent is settled as unknown: reason MEMORY_LOST. The search
        may last until the permit's life is no longer than one order request may take.

        A block that an exception leaves is settled by the table of failures. One that ends without reporting an outcome
        is settled as unknown.
        """
        held = GuardedPermit(self, self.evaluate(intent))
        try:
            if held.must_look and (finder := find_order or self._find_order) is not None:
                self._look(held, Intent.read(intent), finder)
            yield held
        except BaseException as error:
            held.leave(error)
            raise
        held.leave()
        if held.verdict.permit is not None and not held.verdict.permit.observed:
            self.leave_trace()

    def _look(self, held: GuardedPermit, intent: Intent, finder: FindOrder) -> None:
        # Loaded only after a loss of memory.
        from gate.client.earlier_orders import recv_window_ms, search, stopped_by
        from gate.exchange.port import LEAST_TO_SEND_MS

        permit = held.permit
        asking = search(permit, permit.decided_ms(intent.timestamp_ms), recv_window_ms(finder), self.policy)
        try:
            wait_s = next(asking)
            while True:
                time.sleep(wait_s)
                try:
                    answer = finder(permit.symbol, permit.client_order_id)
                except Exception as failure:
                    wait_s = asking.throw(failure)
                else:
                    wait_s = asking.send(answer)
        except StopIteration as done:
            said = done.value
        if said is None:
            said = stopped_by(self.last_look(permit, needed_ms=LEAST_TO_SEND_MS), permit)
        held.heard(said)

    def close(self) -> None:
        """Closes the connections, and the embedded store if this gate has started it."""
        self._wire.close()
        if self._beside is not self._wire:
            self._beside.close()
        if self._embedded is not None:
            self._embedded.close()

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncGate:
    """The gate of one account, for asyncio. Close it, or use it in an `async with` block."""

    def __init__(
        self,
        *,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        prefix: str = DEFAULT_PREFIX,
        policy: Policy | None = None,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        find_order: AsyncFindOrder | None = None,
    ) -> None:
        """As Gate, with a redis-py asyncio client."""
        keyspace = _keyspace(prefix, policy)
        if isinstance(client, redis.asyncio.RedisCluster):
            refuse_cluster_without_hash_tag(keyspace)
            slot = Slot(lambda: client, keyspace.state, timeout_ms, identify(keyspace), owns_client=False)
            wire: AsyncWire = AsyncClusterWire(slot)
        else:
            wire = AsyncServerWire(client, timeout_ms, identify(keyspace))
        self._set_up(wire, None, prefix, policy, find_order)

    def _set_up(
        self,
        wire: AsyncWire,
        embedded: EmbeddedStore | None,
        prefix: str,
        policy: Policy | None,
        find_order: AsyncFindOrder | None,
    ) -> None:
        self._wire = wire
        self._embedded = embedded
        self._caller = Caller(prefix, policy)
        self._traces = Traces(prefix)
        self._beside = (
            wire.beside(SERVICES, identify(Keyspace(SERVICES))) if isinstance(wire, AsyncClusterWire) else wire
        )
        self._find_order = find_order

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        policy: Policy | None = None,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        find_order: AsyncFindOrder | None = None,
    ) -> AsyncGate:
        """On the store at a URL; gate.store lists the forms. Connects at the first call. Raises InvalidField."""
        gate = cls.__new__(cls)
        gate._set_up(*connect_async(url, _keyspace(prefix, policy), timeout_ms), prefix, policy, find_order)
        return gate

    @classmethod
    def from_config(
        cls,
        file: str | PathLike[str] | None = None,
        *,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        find_order: AsyncFindOrder | None = None,
    ) -> AsyncGate:
        """As Gate.from_config, not awaited."""
        url, prefix, policy = _configured(file)
        return cls.from_url(url, prefix=prefix, policy=policy, timeout_ms=timeout_ms, find_order=find_order)

    @property
    def policy(self) -> Policy:
        """The policy of this caller: its own, or without one the policy in force, as it has last seen it."""
        return self._caller.policy

    @property
    def prefix(self) -> str:
        """The key prefix: the account."""
        return self._caller.keyspace.prefix

    def client_order_id(self, intent_id: str) -> str:
        """As Gate.client_order_id, not awaited."""
        return self._caller.keyspace.client_order_id(intent_id)

    async def _carry(self, dialogue: Dialogue[T], over: AsyncWire | None = None) -> T:
        wire = over or self._wire
        try:
            command = next(dialogue)
            while True:
                try:
                    reply = as_asked(command, await wire.round_trip(command))
                except BaseException as failure:
                    command = dialogue.throw(failure)
                else:
                    command = dialogue.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result

    async def evaluate(
        self,
        intent: Intent | Mapping[str, object],
        *,
        reserve: Decimal | None = None,
        placed_after: str | None = None,
    ) -> Verdict:
        """As Gate.evaluate."""
        return await self._carry(verdicts.evaluate(self._caller, intent, reserve, placed_after))

    def permit_without_store(self, intent: Intent) -> Permit:
        """As Gate.permit_without_store, not awaited."""
        return verdicts.permit_without_store(self._caller, intent)

    async def settle(self, permit: Permit, outcome: Outcome) -> Settlement:
        """As Gate.settle."""
        return await self._carry(settling.settle(self._caller, permit, outcome))

    async def inspect(self, intent: Intent | Mapping[str, object]) -> Inspection:
        """As Gate.inspect."""
        return await self._carry(looks.inspect(self._caller, Intent.read(intent)))

    async def lookup(self, intent_id: str) -> Record | None:
        """As Gate.lookup."""
        return await self._carry(looks.lookup(self._caller, intent_id))

    async def last_look(self, permit: Permit, *, needed_ms: int, placed_after: str | None = None) -> LastLook:
        """As Gate.last_look."""
        return await self._carry(looks.last_look(self._caller, permit, needed_ms, placed_after))

    async def give_back(self) -> int:
        """As Gate.give_back."""
        return await self._carry(settling.give_back(self._caller))

    async def status(self) -> Status:
        """As Gate.status."""
        return await self._carry(status(self._caller))

    async def ever_run(self) -> bool:
        """As Gate.ever_run."""
        return await self._carry(looks.ever_run(self._caller))

    async def halt_in_force(self) -> Halt | None:
        """As Gate.halt_in_force."""
        return await self._carry(halt_in_force(self._caller.keyspace))

    async def in_doubt(self, at_most: int = 100, skip: int = 0) -> InDoubt:
        """As Gate.in_doubt."""
        return await self._carry(doubtful.in_doubt(self._caller, at_most, skip))

    async def absences(self, within_ms: int, known: Collection[str] = ()) -> tuple[Absence, ...]:
        """As Gate.absences."""
        return await self._carry(doubtful.absences(self._caller, within_ms, known))

    async def audit(self, at_most: int = 100, *, within_ms: int | None = None) -> Audit:
        """As Gate.audit."""
        from gate.client.audit import audit

        return await self._carry(audit(self._caller.keyspace.prefix, at_most, within_ms))

    async def recent_intents(
        self, at_most: int = 100, *, symbol: str | None = None, looked: Looked | None = None
    ) -> RecentIntents:
        """As Gate.recent_intents."""
        from gate.client.recent import recent_intents

        return await self._carry(recent_intents(self._caller, at_most, symbol, looked))

    async def halt(self, *, by: str, reason: str, scope: str = "entries") -> Act:
        """As Gate.halt."""
        return await self._carry(acts.halt(self._caller, by, reason, scope))

    async def still_out(self, scope: str = "entries") -> StillOut:
        """As Gate.still_out."""
        return await self._carry(acts.still_out(self._caller, acts.clearing(self._caller, scope)))

    async def until_clear(self, scope: str = "entries", *, told: Callable[[StillOut], None] | None = None) -> StillOut:
        """As Gate.until_clear."""
        clearing = acts.clearing(self._caller, scope)
        while True:
            out = await self._carry(acts.still_out(self._caller, clearing))
            if told is not None:
                told(out)
            pause_s = clearing.pause_s(out)
            if pause_s is None:
                return out
            await asyncio.sleep(pause_s)

    async def leave_trace(self) -> None:
        """As Gate.leave_trace."""
        if self._traces.due:
            await self._carry(self._traces.leave(), self._beside)

    async def claim_account(self, digest: str) -> str | None:
        """As Gate.claim_account."""
        return await self._carry(self._traces.claim_account(digest), self._beside)

    async def claim_prefix(self, account: str) -> bool:
        """As Gate.claim_prefix."""
        return await self._carry(self._traces.claim_prefix(account), self._beside)

    async def note_account(self, account: str) -> None:
        """As Gate.note_account."""
        await self._carry(self._traces.note_account(account), self._beside)

    async def leave_account(self, digest: str, account: str | None = None, *, at_once: bool = False) -> None:
        """As Gate.leave_account."""
        await self._carry(self._traces.leave_account(digest, account, at_once=at_once), self._beside)

    async def seen_services(self) -> SeenServices:
        """As Gate.seen_services."""
        return await self._carry(seen_services(self.prefix), self._beside)

    async def recent_symbols(self) -> list[str]:
        """As Gate.recent_symbols."""
        return await self._carry(known_symbols(self._caller.keyspace.symbols))

    async def resume(self, *, by: str, reason: str) -> Act:
        """As Gate.resume."""
        return await self._carry(acts.resume(self._caller, by, reason))

    async def note_flatten(self, what: str, *, by: str, reason: str) -> Act:
        """As Gate.note_flatten."""
        return await self._carry(acts.note_flatten(self._caller, what, by, reason))

    async def reset(self, what: str, *, by: str, reason: str) -> Act:
        """As Gate.reset."""
        return await self._carry(acts.reset(self._caller, what, by, reason))

    async def policy_in_force(self) -> PolicyInForce | None:
        """As Gate.policy_in_force."""
        return await self._carry(policies.policy_in_force(self._caller))

    async def apply_policy(self, policy: Policy | None = None, *, by: str, reason: str, expected: str = "") -> Act:
        """As Gate.apply_policy."""
        return await self._carry(acts.apply_policy(self._caller, policy, by, reason, expected))

    async def init(self, *, by: str, reason: str) -> Act:
        """As Gate.init."""
        return await self._carry(acts.init(self._caller, by, reason))

    async def observers(self) -> tuple[Observer, ...]:
        """As Gate.observers."""
        return await self._carry(observers(self._caller.keyspace.observers))

    async def leftovers(self, looked: Looked | None = None) -> Leftovers:
        """As Gate.leftovers."""
        from gate.client.leftovers import find

        return await self._carry(find(Keyspace(self.prefix), looked))

    async def diagnose(self, looked: Looked | None = None, *, proof: bool = True) -> Diagnosis:
        """As Gate.diagnose."""
        from gate.client.doctor import diagnose

        return await self._carry(diagnose(self._caller, looked, proof=proof))

    async def clear_leftovers(self, found: Leftovers, *, by: str, reason: str, others: bool = False) -> Act:
        """As Gate.clear_leftovers."""
        from gate.client.leftovers import clear

        return await self._carry(clear(self._caller, found, by, reason, others=others))

    @asynccontextmanager
    async def guard(
        self, intent: Intent | Mapping[str, object], *, find_order: AsyncFindOrder | None = None
    ) -> AsyncIterator[AsyncGuardedPermit]:
        """As Gate.guard."""
        held = AsyncGuardedPermit(self, await self.evaluate(intent))
        try:
            if held.must_look and (finder := find_order or self._find_order) is not None:
                await self._look(held, Intent.read(intent), finder)
            yield held
        except BaseException as error:
            await held.leave(error)
            raise
        await held.leave()
        if held.verdict.permit is not None and not held.verdict.permit.observed:
            await self.leave_trace()

    async def _look(self, held: AsyncGuardedPermit, intent: Intent, finder: AsyncFindOrder) -> None:
        # Loaded only after a loss of memory.
        from gate.client.earlier_orders import recv_window_ms, search, stopped_by
        from gate.exchange.port import LEAST_TO_SEND_MS

        permit = held.permit
        asking = search(permit, permit.decided_ms(intent.timestamp_ms), recv_window_ms(finder), self.policy)
        try:
            wait_s = next(asking)
            while True:
                await asyncio.sleep(wait_s)
                try:
                    answer = await finder(permit.symbol, permit.client_order_id)
                except Exception as failure:
                    wait_s = asking.throw(failure)
                else:
                    wait_s = asking.send(answer)
        except StopIteration as done:
            said = done.value
        if said is None:
            said = stopped_by(await self.last_look(permit, needed_ms=LEAST_TO_SEND_MS), permit)
        await held.heard(said)

    async def close(self) -> None:
        """As Gate.close."""
        async with AsyncExitStack() as ends:
            if self._embedded is not None:
                ends.callback(self._embedded.close)
            if self._beside is not self._wire:
                ends.push_async_callback(self._beside.close)
            ends.push_async_callback(self._wire.close)

    async def __aenter__(self) -> AsyncGate:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
