"""What each smoke program does first: see that it runs on the loop it is meant to run on."""

from __future__ import annotations

import asyncio
import os


def check_loop() -> str:
    """The package of the running loop's class. Raises AssertionError if it isn't that which ECOSYSTEM_LOOP names."""
    found = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    wanted = os.environ.get("ECOSYSTEM_LOOP", found)
    assert found == wanted, f"this is a loop of {found}, not of {wanted}"
    return found
