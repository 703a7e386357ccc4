"""What gunicorn lets through to the app."""

import socket

import pytest

CHUNKS = ["5\r\nemail\r\n0\r\n\r\n", "zz\r\nemail\r\n", "-1\r\n", ""]


@pytest.mark.parametrize("installation", ["sqlite"], indirect=True)
def test_the_running_server_refuses_chunks_and_believes_no_strangers_proxy(installation):
    for chunks in CHUNKS:
        lines = ["POST /login HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", "Connection: close"]
        answer = talk(installation.port, "\r\n".join([*lines, "", chunks]))
        assert answer.startswith("HTTP/1.1 411 "), answer
    headers = ["X-Forwarded-Proto: https", "X-Forwarded-Ssl: on", "Script-Name: /x", "SCRIPT_NAME: /x"]
    answer = talk(
        installation.port,
        "\r\n".join(["GET /login HTTP/1.1", "Host: localhost", *headers, "Connection: close", "", ""]),
    )
    assert answer.startswith("HTTP/1.1 200 ")
    assert "Secure" not in answer.partition("\r\n\r\n")[0]
    assert "Strict-Transport-Security" not in answer


def talk(port: int, request: str) -> str:
    """Send bytes as they are to the running server and return all that it answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
