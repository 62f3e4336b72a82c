"""Workers of a Dask scheduler: any client of `distributed`, local, over SSH, on Kubernetes or through a batch queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rgprobe.errors import EnvironmentFault, OptionError
from rgprobe.sweeping.items import Item
from rgprobe.sweeping.ledger import Outcome, failure_of
from rgprobe.sweeping.pools import Pool, Work

__all__ = ["DaskWorkers", "connect"]

WAITING = 3  # items per thread of the cluster that are handed over at a time: enough that no worker runs dry
TIMEOUT = "20s"


class DaskWorkers(Pool):
    """The workers of a Dask client, which is used and not closed.

    A worker that dies costs its own item: the scheduler gives it to another one, and after as many deaths as its setting
    `allowed-failures` says the item counts as failed.

    Args:
        client: a `distributed.Client`.
        work: a function that can be pickled.
        resources: what each item takes of a worker's abstract resources, such as {"GPU": 1}.
    """

    def __init__(self, client: Any, work: Work, *, resources: Mapping[str, float | int] | None = None) -> None:
        from distributed import as_completed

        self._client, self._work, self._resources = client, work, dict(resources or {})
        self._items: dict[Any, Item] = {}
        self._completed = as_completed(loop=client.loop)

    @property
    def free(self) -> int:
        """Room for a few items per thread that the cluster has now; workers may come and go."""
        threads = sum(self._client.nthreads().values())
        return max(WAITING * threads, 1) - self.busy

    @property
    def busy(self) -> int:
        """Items at the scheduler."""
        return len(self._items)

    def submit(self, item: Item) -> None:
        """Hand an item to the scheduler."""
        # not pure: the same item tried again must run again
        future = self._client.submit(self._work, item, pure=False, resources=self._resources or None)
        self._items[future] = item
        self._completed.add(future)

    def finished(self) -> list[tuple[Item, Outcome]]:
        """Wait for at least one item."""
        return [(self._items.pop(future), _outcome(future)) for future in self._completed.next_batch()]

    def close(self) -> None:
        """Take back what has not been worked on."""
        self._client.cancel(list(self._items), force=True)
        self._items.clear()


def connect(address: str) -> Any:
    """A client of the scheduler at an address such as `tcp://host:8786`.

    Raises:
        EnvironmentFault: `distributed` is not installed, or no scheduler answers there.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise EnvironmentFault(
            "--scheduler", expected="the packages dask and distributed", received="none installed",
            remedy='install the extra: pip install "rgprobe[cluster]"',
        ) from error  # fmt: skip
    try:
        return Client(address, timeout=TIMEOUT)
    except (OSError, TimeoutError) as error:
        raise EnvironmentFault(address, expected="a Dask scheduler that answers", received=str(error) or "silence",
                               remedy="start it, or correct the address")  from error  # fmt: skip
    except (ValueError, TypeError) as error:
        raise OptionError("--scheduler", expected="an address such as tcp://host:8786", received=address,
                          remedy="correct the address")  from error  # fmt: skip


def _outcome(future: Any) -> Outcome:
    error = future.exception() if future.status == "error" else None
    if future.status == "finished":
        return future.result()
    return Outcome("failed", failure_of(error if error is not None else EnvironmentFault(
        "cluster", expected="an outcome", received=f"a task that was {future.status}", remedy="sweep again",
    )))  # fmt: skip
