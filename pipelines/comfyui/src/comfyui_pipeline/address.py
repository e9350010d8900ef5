"""ServerAddress: where a ComfyUI server is; credentials are kept apart from what may be shown."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from .errors import SettingsError


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A checked server URL.

    Attributes:
        url: http or https, without credentials and without a slash at the end. ``str(address)`` is the same.
        user, password: for HTTP basic authentication, empty where the URL had none.
    """

    url: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """The address that a text names.

        Raises:
            SettingsError: it is no http or https URL of a server. The message never has the credentials in it.
        """
        try:
            parts = urlsplit(text.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            raise SettingsError("the server's address is not a URL: http://127.0.0.1:8188 is one") from None
        if parts.scheme not in ("http", "https") or not host:
            raise SettingsError(
                f"the server's address begins with '{parts.scheme}:': it must be http or https with a host, "
                "like http://127.0.0.1:8188"
            )
        if parts.query or parts.fragment:
            raise SettingsError(f"the server's address (host {host}) must end before any '?' or '#'")
        if any(not character.isprintable() or character.isspace() for character in text.strip()):
            raise SettingsError(f"the server's address (host {host}) has a space or a control character in it")
        name = f"[{host}]" if ":" in host else host
        place = f"{name}:{port}" if port else name
        url = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
        return cls(url, unquote(parts.username or ""), unquote(parts.password or ""))

    def __str__(self) -> str:
        return self.url

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine by its name alone."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")
