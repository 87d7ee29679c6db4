from __future__ import annotations

from adapter.domain.resource import version_of
from adapter.fhir.client import FhirClient
from tests.contract.fhir_client.servers import Server


def test_no_version_is_hidden_by_what_was_asked_a_moment_before(server: Server, own: str) -> None:
    async def work(fhir: FhirClient) -> tuple[list[str | None], bool]:
        for number in range(2):
            await fhir.put({"resourceType": "Basic", "id": own, "code": {"text": f"first {number}"}})
        await fhir.history("Basic", own)
        for number in range(3):
            await fhir.put({"resourceType": "Basic", "id": own, "code": {"text": f"second {number}"}})
        history = await fhir.history("Basic", own)
        assert history is not None
        return [version_of(version) for version in history.versions], history.whole

    assert server.run(work) == (["5", "4", "3", "2", "1"], True)
