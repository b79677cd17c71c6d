"""What the tests of the replay share: the whole of it, made once, and a landing in memory."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Generator
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files
from typing import Any

from lakehouse.engine.declare.ports import Address, Found, Switch
from lakehouse.example.landed import LandedFile
from lakehouse.example.replay import days

EXAMPLE = files("lakehouse.example")
MONTHS = EXAMPLE / "online_retail"

# SHA-256 of the unpacked files of the sample delivery that the rules of the replay were published with
SAMPLE = {
    "customers/dt=2010-12-04/customers.csv": "e6acdcedeb33a74f05fd370fd592554aaf17a0fbc136388ae8df028b62fdb9ff",
    "customers/dt=2010-12-11/customers.csv": "525f77ca56c824193bbfa676b5532fa8b18642818d316db615dfaaa1dfaf501b",
    "orders/dt=2010-12-01/orders.jsonl.gz": "96b2230812cdb656e11dff84143d355b06b9385ba52662f1b748dd5b1449cc5f",
    "orders/dt=2010-12-02/orders.jsonl.gz": "36988f5848359ef6f79bb0fcbc4151fe20789fc28e89d8fa395173252b4dce11",
    "orders/dt=2010-12-03/orders.jsonl.gz": "258105579bfc67e85961d31f15b05d9f3506e976d64b0e47d60e391dabfde1aa",
    "orders/dt=2010-12-04/orders.jsonl.gz": "514cba88f71517db259611db662dcf633c3f41121d69855df12138ae99db2d34",
    "orders/dt=2010-12-05/orders.jsonl.gz": "cbc9899a176b594c17f231c75b4beb32d6dc8084405484e72cd6dc5f0b9f0af9",
    "orders/dt=2010-12-06/orders.jsonl.gz": "94ef95a56d23ba9123320f6f4a1fdec8f6af6bdc355cc10d1e875922a5c2c1b2",
    "orders/dt=2010-12-07/orders.jsonl.gz": "e406e0abff82fca7a3c640b6b174a445a45e6e83024d15cc9e365221398d35b7",
    "orders/dt=2010-12-08/orders.jsonl.gz": "44afe80a30932757b7e30d5a583fb8c86452a64ea90b2fc23f41ebd7d7d893fd",
    "orders/dt=2010-12-09/orders.jsonl.gz": "440fd2ec43f7dc6b9764be7e93a365098b708bf76908d95d6d1bb23e636cb0b7",
    "orders/dt=2010-12-10/orders.jsonl.gz": "09948a7dd6579b93d90b567d3a827706a7be86c59197ec7caeaf0e39e109262f",
    "orders/dt=2010-12-11/orders.jsonl.gz": "621e9178199ff9e3abbd37cc158450f55ccec45f69304732aedeec045cf0d3d0",
    "orders/dt=2010-12-12/orders.jsonl.gz": "3ce117478708f12e3902f0e69ff7d15b129bae9471734cf9c1f681fb699be54c",
    "products/dt=2010-12-06/products.csv": "eb4f32412bff679ad78e50fc4267bd5da22545fef7a02201b4db0498f0a26af0",
    "products/dt=2011-05-30/products.csv": "6480b655c24d6515788b888df3c84c147a45cfc0e1c59eca2eef702c15034c78",
    "products/dt=2011-06-06/products.csv": "a1e118e1a3a9a9e511bb69fe7dd2c05139299b7f9b47c274c2e4677eb80fed49",
    "products/dt=2011-08-29/products.csv": "b86be48645e933447b0547cb83d27919ff015d2ec27bbf99e76cb7e737f266d1",
    "products/dt=2011-09-05/products.csv": "7be6e6311320ccabc9d95a810625ce8560a002b9c61afd97012c20eaef81feff",
    "returns/dt=2010-12-01/returns.jsonl.gz": "b1dbeaa5b27a25eecb5670b640759dd7ff6a568dd68c14899b79f7ac209ea479",
    "returns/dt=2010-12-02/returns.jsonl.gz": "8310cf65da2e6b0a5b4b5991d9825b6524a1e9b3a2c0fdbfb715f7926b1327aa",
    "returns/dt=2010-12-03/returns.jsonl.gz": "052332e0d3f8350f4b0804cfebd9803c139e089b7a03a0472ab82a6042eb3aeb",
    "returns/dt=2010-12-04/returns.jsonl.gz": "8edc291b2a4667a94bd167551b2bf3e16b2dbc6e1b70714ee5312bd8841dbb25",
    "returns/dt=2010-12-05/returns.jsonl.gz": "4cffd95f2ae4cf1cd50c76b00431e323396d11531f4acb9851f83c84f91cf732",
    "returns/dt=2010-12-06/returns.jsonl.gz": "baff064f9db3d1d4fc0c6a039ddc7110ef15b24c0f50c2fad5e8efdffc21580c",
    "returns/dt=2010-12-07/returns.jsonl.gz": "2ec0ddad103208da636a2bcb4bbadc21f9936775f1b54b5ca07370ef0c3e1fc9",
    "returns/dt=2010-12-08/returns.jsonl.gz": "bb432377418ead457cb0bfa2246955465e0eb9883f75e9cac5496fb3e92800fc",
    "returns/dt=2010-12-09/returns.jsonl.gz": "a0e75a35fe0d92c5c6d687a069f3bcb24fdae6258f28418c328dd0f3929afbc0",
    "returns/dt=2010-12-10/returns.jsonl.gz": "d94f2c5dbae94332ded51548c5f8996cdc407f1fe575ddca51c2533d7da85ae2",
    "returns/dt=2010-12-11/returns.jsonl.gz": "c5a6b975ee3aa807054b9840e21a05137898c111ee16496666ef711cd989bae2",
    "returns/dt=2010-12-12/returns.jsonl.gz": "bdfbd5ca66828f4cd3afdb6d76712e8d3cabb1159efddcc040e8aed0bad3e9ba",
}


class Shelf:
    """A landing zone in memory that remembers what was written to it."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.writes: list[str] = []

    def address(self, *path: str) -> Address:
        return Address("memory") / "/".join(path)

    def switch(self, table: str) -> Switch:  # the port's signature
        return "on"

    def files(self, pattern: str) -> list[Found]:
        names = sorted(name for name in self.contents if fnmatch(name, pattern))
        return [Found(name, len(self.contents[name]), datetime.min.replace(tzinfo=UTC)) for name in names]

    def pages(self, pattern: str, after: str = "") -> Generator[tuple[list[Found], str]]:
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        return self.contents[name]

    def write(self, name: str, content: bytes) -> None:
        self.contents[name] = content
        self.writes.append(name)

    def folders(self, *path: str) -> list[str]:
        raise NotImplementedError

    def remove(self, *path: str) -> None:
        raise NotImplementedError


@cache
def whole() -> list[LandedFile]:
    return list(days())


def of(*sources: str) -> list[LandedFile]:
    """The files of some sources, as "orders" for erp/orders."""
    return [file for file in whole() if file.source in {f"erp/{source}" for source in sources}]


def day_of(file: LandedFile) -> date:
    assert file.day is not None
    return file.day


def unpacked(file: LandedFile) -> bytes:
    return gzip.decompress(file.content) if file.name.endswith(".gz") else file.content


@cache
def landed_lines(source: str) -> dict[bytes, date]:
    """Every distinct landed object of a source, with the day it landed on first."""
    lines: dict[bytes, date] = {}
    for file in of(source):
        for line in unpacked(file).splitlines():
            lines.setdefault(line, day_of(file))
    return lines


@cache
def invoices(source: str) -> list[dict[str, Any]]:
    """The landed objects of a source without repeats, numbers as the text that landed."""
    return [json.loads(line, parse_float=str, parse_int=str) for line in landed_lines(source)]


@cache
def nets(source: str) -> dict[str, Decimal]:
    """What each invoice of a source comes to, by its number."""
    return {
        each["order_no"]: sum((int(line["qty"]) * Decimal(line["unit_price"]) for line in each["lines"]), Decimal(0))
        for each in invoices(source)
    }


@cache
def packed_rows() -> list[list[str]]:
    """The packed rows, in the source's order."""
    rows: list[list[str]] = []
    for month in sorted(
        (file for file in MONTHS.iterdir() if file.name.endswith(".csv.gz")), key=lambda file: file.name
    ):
        text = gzip.decompress(month.read_bytes()).decode().split("\n")
        rows += [row for row in csv.reader(text[1:]) if row]
    return rows
