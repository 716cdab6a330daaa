"""A page in headless Chromium: what it says, what it asks for, what it looks like."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)


class Browser:
    """Headless Chromium, spoken to in its DevTools protocol through a pair of pipes."""

    def __init__(self, folder: Path) -> None:
        its_input, our_output = os.pipe()
        our_input, its_output = os.pipe()

        def place() -> None:
            # Chromium reads commands from descriptor 3 and answers on 4. Copies out of the way
            # first: one of the pipes may have one of those numbers.
            copies = [os.dup(its_input), os.dup(its_output)]
            for number, copy in zip((3, 4), copies, strict=True):
                os.dup2(copy, number)

        self._process = subprocess.Popen(
            [
                str(BROWSER),
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                f"--user-data-dir={folder}",
                "--remote-debugging-pipe",
            ],
            preexec_fn=place,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        self._commands = os.fdopen(our_output, "wb", buffering=0)
        self._answers = os.fdopen(our_input, "rb")
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        self._commands.write(json.dumps(command).encode() + b"\0")
        while (message := self._read()).get("id") != self._number:
            self.events.append(message)
        assert "error" not in message, (method, message["error"])
        result: dict[str, Any] = message["result"]
        return result

    def _read(self) -> dict[str, Any]:
        parts = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has gone"
            parts += byte
        message: dict[str, Any] = json.loads(parts)
        return message

    def show(self, page: Path, width: int, height: int, scheme: str) -> None:
        """Load a page anew.

        Args:
            page: Its file.
            width: Of the window; a telephone below 600.
            height: Of the window.
            scheme: "light" or "dark".
        """
        self.events.clear()
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self, path: Path, whole: bool = True) -> None:
        """Take a screenshot, for whoever wants to look."""
        found = self("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """What the page has logged or thrown."""
        methods = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [event for event in self.events if event.get("method") in methods]

    @property
    def requests(self) -> set[str]:
        """Addresses that the page has asked for."""
        return {
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        }

    def close(self) -> None:
        """End the browser and all its processes."""
        self._session = ""
        self("Browser.close")
        self._commands.close()
        self._answers.close()
        self._process.wait()
