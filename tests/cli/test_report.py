"""`coupon report`: it counts, audits, keeps and prints."""

from tests.conftest import on_sqlite
from tests.sale.test_exports import sale  # noqa: F401
from webapp.sale.report import report_of

pytestmark = on_sqlite


def test_a_sale_is_counted_audited_and_printed(app, sale):  # noqa: F811
    coupon, _users = sale
    result = app.test_cli_runner().invoke(args=["coupon", "report", str(coupon)])
    said = {line[:28].strip(): line[29:] for line in result.stdout.splitlines()}
    assert result.exit_code == 0
    assert (said["with a number"], said["issued"], said["inversions"], said["audit"]) == ("5", "2", "0", "ok")
    assert (said["rejected"], said["revoked"], said["in standby"], said["cost"]) == ("1", "1", "1", "0")
    assert report_of(coupon).figures.audit == []


def test_an_unknown_coupon_is_refused_in_words(app):
    result = app.test_cli_runner().invoke(args=["coupon", "report", "999"])
    assert (result.exit_code, result.stderr) == (1, "Error: there is no coupon 999\n")
