"""The backend of many workers: Ray actors decode and score, on the GPUs and cores of this machine or of a cluster.

Only the driver writes. A worker holds models and nothing else, so that any of them may die at any moment: what it had
sent is recorded, and its item is worked on again, whole, by a worker that lives. Ray itself never repeats a task.
"""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.backends.affinity import Queue
from harness.backends.nodes import differences, this_node
from harness.backends.protocol import Backend, Batch, Block, Item, LeftOut
from harness.backends.worker import Refusal, Worker, WorkerSettings
from harness.config.schema import BackendSpec
from harness.errors import UserError

DEATHS = 3  # of workers, that an item may cause before it is left out
WINDOW = 4  # items that wait for each worker, so that one is found whose models it has
PATIENCE = 120.0  # seconds without any worker, on a cluster that has no room for one any more
CALL = 10.0  # seconds for a cluster to take a call
STORE = 256 << 20  # bytes of the object store: results are small, and leave it at once


@dataclass
class Hand:
    """A worker as the driver sees it.

    Attributes:
        starting: a reference that resolves once the actor answers, while it has not.
        item, stream: what it works on, and where its answers come from.
        tokens, seconds, blocks, batches, deaths: what it has given, in how much time, and how often it died.
    """

    actor: Any
    starting: Any = None
    item: Item | None = None
    stream: Any = None
    about: dict = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0
    blocks: int = 0
    batches: int = 0
    deaths: int = 0


class Ray(Backend):
    """Decodes blocks and scores batches by Ray actors; see `harness.backends.protocol.Backend`.

    Args:
        spec: how many workers, and what each takes. settings: how they decode. worker: what works.

    Raises:
        UserError: Ray is not installed, no cluster at the address, more asked for than there is.
    """

    def __init__(self, spec: BackendSpec, settings: WorkerSettings, worker: type = Worker):
        self.spec, self.settings, self.worker = spec, settings, worker
        self._ray = _imported()
        self._temporary: str | None = None
        self._hands: list[Hand] = []
        self._deaths: dict[str, int] = {}

    def run(self, items: Iterable[Item]) -> Iterator[tuple[Item, list[Any]]]:
        """Every block's generations as they come, some of a block at a time; every batch's rewards.

        Raises:
            UserError: what the guider refuses.
            LeftOut: at the end, exit code 1: items that killed their worker three times each.
        """
        self._start()
        queue, lost = Queue(items, WINDOW * len(self._hands)), []
        alive = time.monotonic()
        self._hand_out(queue)
        while any(hand.item is not None for hand in self._hands) or not queue.is_empty:
            answers = []
            for hand in self._ready():
                if hand.stream is None:
                    self._started(hand)
                    continue
                item, found, died = self._taken(hand)
                answers.append((item, found))
                if died:
                    queue.forget(id(hand))
                    lost += self._again(item, queue)
            if any(hand.starting is None for hand in self._hands):
                alive = time.monotonic()
            elif time.monotonic() - alive > PATIENCE:
                self._refuse_without_room()
            self._hand_out(queue)  # first, so that no worker waits for the disk
            yield from (answer for answer in answers if answer[1])
            self._hand_out(queue)  # what has come of these answers
        if lost:
            named = "; ".join(item.label for item in lost)
            mend = "the others are recorded; see Ray's logs for why, and run the same command to try again"
            raise LeftOut(f"left out, since each killed its worker {DEATHS} times: {named}; {mend}", exit_code=1)

    def check_nodes(self, paths: list[str], needed: int) -> list[str]:
        """What keeps a node from decoding as this machine does (`harness.backends.nodes.differences`).

        Raises:
            UserError: no cluster at the address; no room for a worker.
        """
        self._connect()
        if not self._room():
            self._refuse_without_room()
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        ask = self._ray.remote(num_cpus=0, max_retries=0)(this_node)
        alive = [node["NodeID"] for node in self._ray.nodes() if node["Alive"]]
        asked = [ask.options(scheduling_strategy=strategy(one, soft=False)).remote(paths) for one in alive]
        return differences(this_node(paths), self._ray.get(asked), needed)

    def named(self) -> dict:
        """For the manifest: the workers, where they were and how fast."""
        return {
            "name": "ray",
            "nodes": sorted({hand.about["host"] for hand in self._hands if hand.about}),
            "gpus_per_worker": self._gpus,
            "cpus_per_worker": self.spec.cpus_per_worker,
            "workers": [
                {
                    "host": hand.about.get("host"),
                    "gpus": hand.about.get("gpus", []),
                    "blocks": hand.blocks,
                    "batches": hand.batches,
                    "tokens_per_second": round(hand.tokens / hand.seconds, 1) if hand.seconds else None,
                    "deaths": hand.deaths,
                }
                for hand in self._hands
            ],
        }

    def status(self) -> str:
        """For the progress display: "2 workers: 140, 133 tokens/s"."""
        rates = ", ".join(f"{hand.tokens / hand.seconds:.0f}" if hand.seconds else "–" for hand in self._hands)
        return f"{len(self._hands)} workers: {rates} tokens/s" if self._hands else ""

    def close(self) -> None:
        """End the workers, and Ray where it was started here."""
        for hand in self._hands:
            self._ray.kill(hand.actor)
        self._hands = []
        if self._temporary is not None:
            self._ray.shutdown()
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    @property
    def _gpus(self) -> float:
        asked = self.spec.gpus_per_worker
        return asked if asked is not None else float(self.settings.device.startswith("cuda"))

    def _start(self) -> None:
        if self._hands:
            return
        self._connect()
        room = self._room()
        if not room:
            self._refuse_without_room()
        workers = self.spec.workers or room
        if workers > room:
            raise UserError(f"backend.workers={workers}: there is room for {room} ({self._there()}); ask for fewer")
        options = {"num_cpus": self.spec.cpus_per_worker, "num_gpus": self._gpus}
        make = self._ray.remote(self.worker).options(**options, max_restarts=-1, max_task_retries=0)
        for _ in range(workers):
            actor = make.remote(self.settings)
            self._hands.append(Hand(actor, starting=actor.about.remote()))

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
        if self.spec.address is None:
            self._temporary = tempfile.mkdtemp(prefix="ivg-ray-")
            self._ray.init("local", _temp_dir=self._temporary, object_store_memory=STORE, **quiet)
            return
        host, colon, port = self.spec.address.rpartition(":")
        try:
            if colon and port.isdigit() and "/" not in host:  # Ray itself would try for minutes
                socket.create_connection((host, int(port)), CALL).close()
            self._ray.init(self.spec.address, log_to_driver=False, logging_level="error")
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"backend.address={self.spec.address}: no Ray cluster answers ({reason})") from None

    def _room(self) -> int:
        """Workers that fit on the nodes; a worker lies on one node."""
        return sum(
            min(
                int(node.get("CPU", 0) / self.spec.cpus_per_worker + 1e-9),
                int(node.get("GPU", 0) / self._gpus + 1e-9) if self._gpus else 1 << 30,
            )
            for node in self._nodes()
        )

    def _nodes(self) -> list[dict]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _there(self) -> str:
        nodes = self._nodes()
        each = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes[:4])
        return f"{len(nodes)} nodes: {each}{', …' if len(nodes) > 4 else ''}"

    def _refuse_without_room(self) -> None:
        if self._room():
            return
        asked = f"backend.gpus_per_worker={self._gpus:g}, backend.cpus_per_worker={self.spec.cpus_per_worker}"
        raise UserError(f"{asked}: no node has as many ({self._there()}); ask for fewer")

    def _hand_out(self, queue: Queue) -> None:
        for hand in self._hands:
            if hand.starting is None and hand.item is None and (item := queue.next_for(id(hand))) is not None:
                self._give(hand, item)

    def _ready(self) -> list[Hand]:
        """The workers that have answered; waits for the first of them, though not forever."""
        asked = {id(hand.stream or hand.starting): hand for hand in self._hands if hand.stream or hand.starting}
        references = [hand.stream or hand.starting for hand in asked.values()]
        if not self._ray.wait(references, num_returns=1, timeout=5.0)[0]:
            return []
        return [asked[id(one)] for one in self._ray.wait(references, num_returns=len(references), timeout=0)[0]]

    def _give(self, hand: Hand, item: Item) -> None:
        hand.item = item
        hand.blocks, hand.batches = hand.blocks + isinstance(item, Block), hand.batches + isinstance(item, Batch)
        hand.stream = hand.actor.run.options(num_returns="streaming").remote(item)

    def _started(self, hand: Hand) -> None:
        try:
            hand.about = self._ray.get(hand.starting)
            hand.starting = None
        except self._dead as error:
            if "creation task" in str(error):  # it would fail each time
                said = str(error).strip().splitlines()[-1]
                raise UserError(f"backend=ray: a worker does not start: {said}", exit_code=1) from None
            hand.starting = hand.actor.about.remote()
            time.sleep(0.2)  # an actor without a node answers at once that it is not there

    def _taken(self, hand: Hand) -> tuple[Item, list[Any], bool]:
        """What a worker works on, what has come of it by now, and whether the worker died."""
        item, found = hand.item, list[Any]()
        assert item is not None
        try:
            while self._ray.wait([hand.stream], timeout=0)[0]:
                answer = self._ray.get(next(hand.stream))
                if isinstance(answer, Refusal):
                    raise UserError(answer.message, answer.exit_code)
                result, seconds = answer
                if isinstance(item, Batch):
                    found += result
                else:
                    hand.tokens, hand.seconds = hand.tokens + len(result.tokens), hand.seconds + seconds
                    found.append(result)
        except StopIteration:
            hand.item = hand.stream = None
        except self._dead:
            hand.item = hand.stream = None
            hand.deaths += 1
            hand.starting = hand.actor.about.remote()
            return item, found, True
        return item, found, False

    def _again(self, item: Item, queue: Queue) -> list[Item]:
        """Put an item back whose worker died; those that are given up."""
        self._deaths[item.label] = self._deaths.get(item.label, 0) + 1
        if self._deaths[item.label] >= DEATHS:
            return [item]
        queue.put_back(item)
        return []

    @property
    def _dead(self) -> tuple[type[Exception], ...]:
        errors = self._ray.exceptions
        return (
            errors.RayActorError,  # died, or not there for the moment
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        )


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError:
        raise UserError("backend=ray: Ray is not installed; pip install 'ivg-harness[ray]'") from None
    return ray
