"""The web part: check the settings that gunicorn reads by itself, and become gunicorn.

gunicorn reads WEB_CONCURRENCY while it is imported, and ends in a traceback if that is no number. gunicorn.conf.py uses
this module too, so it may import nothing that gevent has to patch in gunicorn's processes.
"""

import os
import sys

MOST_PORT, MOST_PROCESSES = 65535, 1000


def number(name: str, default: int, most: int) -> int:
    """Return a setting that is a whole number from 1 to `most`; else print one line and raise SystemExit(1)."""
    text = os.environ.get(name, "").strip() or str(default)
    if text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most:
        return int(text)
    told = f"{name} must be a whole number from 1 to {most}, not {text!r}"
    print(f"firstcome: refusing to start: {told}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def port() -> int:
    return number("PORT", 8000, MOST_PORT)


def processes() -> int:
    return number("WEB_CONCURRENCY", os.cpu_count() or 1, MOST_PROCESSES)


def main() -> None:
    os.environ["WEB_CONCURRENCY"], os.environ["PORT"] = str(processes()), str(port())
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "wsgi:app", *sys.argv[1:]])


if __name__ == "__main__":
    main()
