from datetime import date
from pathlib import Path

import pytest
import requests
import trustme

from local.simulator import Fault, Simulator
from local.simulator.faults import parse

DAY = date(2025, 11, 4)
PARAMS = {"start": "20251104T00", "end": "20251104T23"}


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_over_tls_all_is_the_same(tmp_path: Path, framing: str) -> None:
    authority = trustme.CA()
    pem, root = tmp_path / "server.pem", tmp_path / "root.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    authority.cert_pem.write_to_path(root)
    with Simulator(events_per_hour=20, certificate=pem) as simulator:
        assert simulator.url.startswith("https://")
        simulator.fail(parse(framing) if framing != "length" else None, Fault(cut=5000, reset=True), Fault(cut=5000))
        with requests.Session() as session:
            session.verify, session.auth = str(root), simulator.keys
            assert session.get(simulator.url, params=PARAMS, timeout=30).content == b"".join(simulator.archive(DAY))
            for _ in range(2):
                with pytest.raises(requests.RequestException):
                    session.get(simulator.url, params=PARAMS, timeout=30)
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(simulator.url, timeout=30)
