"""The API with what `schemathesis` generates from its description."""

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from bitmoji_jax.web.app import make_app
from bitmoji_jax.web.openapi import describe_api
from tests.web_server import QuickTranslator, running

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running(make_app(QuickTranslator(), local=True, pretrained=True)) as number:
        yield number


def test_the_description_is_served_and_names_every_error_that_the_documentation_names(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/openapi.json")
    response = connection.getresponse()
    assert (response.status, response.getheader("Content-Type")) == (200, "application/json")
    described = json.loads(response.read())
    connection.close()
    assert described == describe_api()
    responses = described["paths"]["/api/avatar"]["post"]["responses"]
    found = {
        (status, code) for status, each in responses.items() for code in re.findall("`(\\w+)`", each["description"])
    }
    table = re.findall(r"^\| (\d{3}) \| (`.*?`) \|", Path("docs/web.md").read_text(), re.MULTILINE)
    assert found == {(status, code) for status, codes in table for code in re.findall(r"\w+", codes)}


def test_any_request_gets_an_answer_that_the_description_allows(port: int) -> None:
    schema = schemathesis.openapi.from_dict(describe_api())
    schema.config.update(base_url=f"http://127.0.0.1:{port}")
    found: list[int] = []
    strategy = schema["/api/avatar"]["POST"].as_strategy()

    @hypothesis.given(case=strategy)
    @hypothesis.settings(
        max_examples=20, derandomize=True, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    def ask(case: "schemathesis.Case") -> None:
        # A description cannot say that a picture has to show a face.
        response = case.call_and_validate(excluded_checks=[checks.positive_data_acceptance])
        found.append(response.status_code)

    ask()
    assert len(found) >= 10
    assert set(found) & {200, 415, 422}
