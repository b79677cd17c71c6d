"""A way into the storage that ends while a run is under way: what stands is right, and the next run makes it whole."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from lakehouse.engine.declare.errors import Terminal
from lakehouse.engine.declare.place import Place
from lakehouse.engine.delta import place as places
from lakehouse.engine.delta.refused import told_where_refused
from lakehouse_tests.azurite import Azurite
from lakehouse_tests.faults import arrivals
from lakehouse_tests.faults.bad_storage import BadStorage
from lakehouse_tests.faults.standing import DECLARED, Standing, standing
from lakehouse_tests.faults.worker import Drain
from resources import entra
from resources.adls import Adls
from resources.local_disk import LocalDisk

pytestmark = pytest.mark.azurite

A_SAS = {"auth_mode": "sas", "sas_token_variable": "A_SAS"}
AN_IDENTITY = {"auth_mode": "managed_identity"}
SAID = r"Connection 'shop': .* refused \(403 \w+\)\. Look at account, container and endpoint in company.yaml, and at "
TAKEN, GOOD = 80, 40
"""So many requests a token is taken for, and for so many more one is good that is given out: Entra's five minutes."""


def sas(azurite: Azurite, seconds: float = 3600) -> str:
    """Each is another."""
    may = AccountSasPermissions(read=True, write=True, list=True, create=True, delete=True, add=True)
    all_of_it = ResourceTypes(service=True, container=True, object=True)
    ends, begins = datetime.now(UTC) + timedelta(seconds=seconds), datetime.now(UTC) - timedelta(seconds=next(_NUMBERS))
    return generate_account_sas(azurite.account, azurite.key, all_of_it, may, ends, begins)


def signed(words: str) -> list[str]:
    """By what signature a path, or a token, opens the account."""
    return parse_qs(words.rpartition("?")[2])["sig"]


_NUMBERS = itertools.count(60)


@pytest.fixture
def storage(azurite: Azurite) -> Iterator[BadStorage]:
    proxy = BadStorage(azurite.port)
    yield proxy
    proxy.stop()


@pytest.fixture
def new_lake(
    azurite: Azurite, storage: BadStorage, new_container: Callable[[], str], tmp_path: Path
) -> Callable[[dict[str, str]], Place]:
    """An empty one, behind the proxy, beside two rounds of files that have landed."""
    landing = LocalDisk(path=str(tmp_path / "landing"))
    for number in range(2):
        arrivals.land(tmp_path / "landing", arrivals.round_of(1, number).all)

    def new(auth: dict[str, str]) -> Place:
        words: dict[str, Any] = {"connection": "shop", "declared_in": "company.yaml"}
        endpoint = f"http://127.0.0.1:{storage.port}/{azurite.account}"
        lake = Adls(account=azurite.account, container=new_container(), auth=auth, endpoint=endpoint, **words)
        return Place(lake=lake, landing=landing)

    return new


def drained(place: Place) -> Standing:
    """All is made, kept and read; a store that refuses is told as a run does it."""
    drain = Drain(place, DECLARED)
    with told_where_refused(place.lake.address()):
        drain.all()
        drain.maintain(files=False)
        return standing(place)


@pytest.mark.parametrize("times", [2, pytest.param(60, marks=pytest.mark.long)])
def test_a_run_whose_sas_token_ends_says_so_and_the_next_one_makes_the_same_tables(  # noqa: PLR0917 # fixtures
    times, new_lake, azurite, storage, monkeypatch
):
    """It ends before any of the run's requests, so many times."""
    monkeypatch.setenv("A_SAS", sas(azurite))
    wanted, requests = drained(new_lake(A_SAS)), storage.asked
    for last in random.sample(range(requests), times):
        place, ended, until = new_lake(A_SAS), sas(azurite), storage.asked + last
        monkeypatch.setenv("A_SAS", ended)
        storage.lets_in = lambda _, path, until=until, ended=ended: (
            storage.asked <= until or signed(path) != signed(ended)
        )
        with pytest.raises(Terminal, match=SAID + "what A_SAS holds"):
            drained(place)
        monkeypatch.setenv("A_SAS", sas(azurite))
        assert drained(place) == wanted, f"ended after {last} of {requests} requests"


def test_azurite_itself_refuses_a_sas_token_once_its_time_is_over(new_lake, azurite, monkeypatch):
    monkeypatch.setenv("A_SAS", sas(azurite, seconds=3))
    place = new_lake(A_SAS)

    def again_and_again() -> None:
        while drained(place):
            time.sleep(0.2)

    with pytest.raises(Terminal, match=SAID + "what A_SAS holds"):
        again_and_again()
    monkeypatch.setenv("A_SAS", sas(azurite))
    drained(place)


class Credential:
    """As azure-identity's: a token is kept, and another asked for before it ends. Its time is counted in requests."""

    def __init__(self, storage: BadStorage) -> None:
        self._storage, self.begun = storage, list[int]()

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        if not self.begun or self._left(len(self.begun) - 1) < GOOD:
            self.begun.append(self._storage.asked)
        return AccessToken(f"token-{len(self.begun) - 1}", int(time.time()) + 3600)

    def is_taken(self, shown: str, _: str) -> bool:
        return self._left(int(shown.removeprefix("Bearer token-"))) > 0

    def _left(self, number: int) -> int:
        return self.begun[number] + TAKEN - self._storage.asked


def test_a_run_outlives_every_token_that_it_is_given(new_lake, azurite, storage, monkeypatch):
    monkeypatch.setenv("A_SAS", sas(azurite))
    wanted = drained(new_lake(A_SAS))
    credential = Credential(storage)
    monkeypatch.setattr(entra, "managed_identity", lambda _: entra.Login(credential))
    monkeypatch.setattr(places, "ASKED_AGAIN_SECONDS", 0)
    storage.sas, storage.lets_in = sas(azurite), credential.is_taken
    place = new_lake(AN_IDENTITY)
    assert drained(place) == wanted
    assert len(credential.begun) > 5, "so many tokens"
    refused = storage.met["refused"]  # who holds a table since an ended one asks by that first, then by a new one
    assert refused < storage.asked / 20
