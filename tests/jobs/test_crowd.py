"""What the crowd sends is what browsers send."""

import pytest

from jobs.rehearsal.crowd import signed_in
from tests.builders import make_coupon, make_user
from tests.conftest import on_sqlite

pytestmark = on_sqlite


@pytest.mark.parametrize("kind", ["claim", "form_claim"])
def test_its_sessions_and_tokens_are_accepted(client, kind):
    user, coupon = make_user(), make_coupon()
    crowd = signed_in(client.application, [user.id], "localhost")
    head, _, body = getattr(crowd, kind)(coupon, 0).decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    method, path, _ = first.split()
    headers = dict(line.split(": ", 1) for line in lines)
    client.set_cookie(*headers.pop("Cookie").split("=", 1))
    answered = client.open(path, method=method, headers=headers, data=body)
    assert answered.status_code == {"claim": 200, "form_claim": 303}[kind]
    assert client.get(f"/coupons/{coupon}/ticket").json["number"] == 1
