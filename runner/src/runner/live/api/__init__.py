"""Control API of the host: status, params, streams, reload, events."""
