"""What a file of the project may not hold: the machine it was written on, and where packages came from."""

import json
import re

import pytest

from lakehouse_tests.house.house import ROOT, tracked

# Put together, so that this file does not hold what it looks for.
PLACES = {
    "a path of somebody's machine": r"(?<![\w.~$})*-])/(?:" + r"work|home/\w+|root|Users/\w+)\b",
    "a folder beside the project": re.escape("../" + "shared"),
    "a host that packages come from": "|".join(
        re.escape(name + host)
        for name, host in [
            ("pypi", ".org"), ("files.python", "hosted.org"), ("registry.", "npmjs.org"), ("registry.", "yarnpkg.com"),
            ("conda.", "anaconda.org"), ("jfrog", ".io"), ("art", "ifactory"), ("nexus", "3"),
        ]
    ),
    "an index of packages": "|".join(["--" + "index-url", "--" + "extra-index-url", "--trusted" + "-host"]),
}  # fmt: skip


def found(pattern: str, name: str) -> list[str]:
    content = (ROOT / name).read_bytes()
    if b"\0" in content[:8_000]:
        return []
    return [match.group() for match in re.finditer(pattern, content.decode())]


@pytest.mark.parametrize("what", PLACES)
def test_no_file_names(what: str):
    assert {name: said for name in tracked() if (said := found(PLACES[what], name))} == {}


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a path of somebody's machine", 'HERE = "/' + 'home/ann/lake"'),
        ("a path of somebody's machine", "cd /" + "work/main"),
        ("a folder beside the project", "../" + "shared/data"),
        ("a host that packages come from", "https://registry." + "npmjs.org/x"),
        ("an index of packages", "--" + "index-url http://x"),
    ],
)
def test_the_patterns_find_what_they_look_for(what: str, text: str):
    assert re.search(PLACES[what], text)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_has_a_hash_for_every_package_and_no_address(name: str):
    text = (ROOT / name).read_text().replace("\\\n", " ")
    packages = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert len(packages) > 50
    assert [line for line in packages if "==" not in line or "--hash=sha256:" not in line] == []
    assert "://" not in text


def test_the_lock_of_npm_has_a_hash_for_every_package_and_no_address():
    text = (ROOT / "package-lock.json").read_text()
    packages = {name: each for name, each in json.loads(text)["packages"].items() if name}
    assert len(packages) > 50
    assert [name for name, each in packages.items() if "integrity" not in each] == []
    assert [name for name, each in packages.items() if "resolved" in each] == []


def test_every_jar_that_maven_brings_is_of_one_version_and_has_a_hash():
    named = re.findall(
        r"<artifactId>([^<]+)</artifactId><version>([\d.]+)</version>",
        (ROOT / "lakehouse_tests/hadoop.pom.xml").read_text(),
    )
    lines = (ROOT / "lakehouse_tests/hadoop.sha256").read_text().splitlines()
    assert len(named) > 20
    assert sorted(f"{name}-{version}.jar" for name, version in named) == sorted(line[66:] for line in lines)
    assert [line for line in lines if not re.fullmatch(r"[0-9a-f]{64}  \S+", line)] == []


def test_spark_and_delta_are_of_one_version_and_every_jar_that_comes_with_them_has_a_hash():
    lines = (ROOT / "lakehouse_tests/spark.sha256").read_text().splitlines()
    assert {"spark-connect_2.13-4.2.0.jar", "delta-spark_4.2_2.13-4.4.0.jar"} < {line[66:] for line in lines}
    assert [line for line in lines if not re.fullmatch(r"[0-9a-f]{64}  \S+\.jar", line)] == []
    assert len(lines) > 150


def test_the_dev_lock_holds_the_core_lock():
    core, dev = (
        set(re.findall(r"^([\w.-]+==[^\s;]+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert core <= dev
