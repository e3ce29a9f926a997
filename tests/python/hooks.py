"""What schemathesis does not know of itself: bodies that are components of WebAssembly, which may be any bytes."""

import schemathesis


@schemathesis.serializer("application/wasm")
def wasm(_, value):
    return value if isinstance(value, bytes) else str(value).encode()
