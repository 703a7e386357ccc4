"""What a store keeps on the disk is its own: another of its kind that starts leaves it alone."""

import pymysql
import pytest

from deploy.stores import MariaDB


@pytest.mark.parametrize("shared", [False, True], ids=["its own", "control: one for two"])
def test_a_server_that_starts_leaves_the_temporary_tables_of_another(mariadb, directory, monkeypatch, shared):
    if shared:
        monkeypatch.setattr(MariaDB, "_temporary", lambda _self: mariadb.directory / "tmp")
    mariadb.database("firstcome")
    connection = pymysql.connect(
        host="127.0.0.1", port=mariadb.port, user=mariadb.user, password=mariadb.password
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE firstcome.words (word TEXT) ENGINE=Aria")
        mine = set((mariadb.directory / "tmp").glob("#sql*"))
        assert mine
        (directory / f"other-{shared}").mkdir()
        with MariaDB(directory / f"other-{shared}"):
            left = set((mariadb.directory / "tmp").glob("#sql*"))
    assert (left >= mine) is not shared
