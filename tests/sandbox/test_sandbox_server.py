"""The foreground server: silent, quick to start, ended by SIGTERM and SIGINT, honest about a taken port."""

import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from azak_assets.loopback import free_port
from azak_assets.sandbox import serve


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_server_is_silent_and_ends_on_a_signal(end):
    port = free_port()
    program = f"from azak_assets.sandbox import serve; serve('127.0.0.1', {port}, None, 3)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                body = httpx.get(f"http://127.0.0.1:{port}/sandbox/world", timeout=5).json()
                break
            except httpx.TransportError:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert body["world"] == "seed:3"
        assert {"daily_bars", "minute_bars", "news", "rss", "disclosures", "corp_codes", "llm"} <= set(body["feeds"])
        process.send_signal(end)
        out, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in {0, -end}
    assert (out, errors) == (b"", b"")


def test_a_taken_port_is_an_error_not_a_silence():
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(OSError, match="in use"):
        serve("127.0.0.1", listener.getsockname()[1], None, 1)
