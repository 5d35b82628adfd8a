"""Reads a create in the form `multipart/form-data`: first its JSON, then files and an archive as they arrive.

The bytes that are held at any time are those of one piece of the body, whatever the size of the upload.
"""

import hashlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from jelmore.control.uploads import UploadError, UploadPart
from jelmore.ports import Idempotency

MULTIPART: Final = "multipart/form-data"
SESSION: Final = "session"
FILES: Final = "files"
ARCHIVE: Final = "archive"
MAX_FILES: Final = 10_000
MAX_NAMES_BYTES: Final = 1024 * 1024
_MAX_HEADER_BYTES: Final = 8192
_MAX_EPILOGUE_BYTES: Final = 64 * 1024
_FORMS: Final = (
    (".tar.gz", "application/gzip", "tar.gz"),
    (".tgz", "application/x-gzip", "tar.gz"),
    (".tar", "application/x-tar", "tar"),
    (".zip", "application/zip", "zip"),
)

UPLOAD_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "content": {
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "properties": {
                        SESSION: {
                            "anyOf": [{"$ref": "#/components/schemas/CreateBody"}, {"type": "null"}],
                            "description": "The first part, as JSON.",
                        },
                        FILES: {
                            "type": "array",
                            "maxItems": MAX_FILES,
                            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                            "description": "Files. The file name of a part is the path in the workspace.",
                        },
                        ARCHIVE: {
                            "type": "string",
                            "contentMediaType": "application/octet-stream",
                            "description": "A tar, tar.gz or zip, by its file name. It is unpacked into the workspace.",
                        },
                    },
                },
                "encoding": {SESSION: {"contentType": "application/json"}},
            }
        }
    }
}
"""What OpenAPI says of the form."""

type _Event = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class _Part:
    """The headers of a part. `file_name` is as the client sent it: its bytes are not known to be UTF-8."""

    name: str
    file_name: bytes
    media_type: str


class MultipartUpload:
    """One body. Read `session` first, then the `parts`; each is read once."""

    def __init__(self, content_type: str, pieces: AsyncIterator[bytes]) -> None:
        """`content_type` is the request's header. Raises UploadError when it has no usable boundary."""
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary:
            raise UploadError("the Content-Type of the multipart body has no boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": lambda: self._note("begin"),
                    "on_header_field": lambda data, start, end: self._note("field", data[start:end]),
                    "on_header_value": lambda data, start, end: self._note("value", data[start:end]),
                    "on_header_end": lambda: self._note("header"),
                    "on_headers_finished": lambda: self._note("headers"),
                    "on_part_data": lambda data, start, end: self._note("data", data[start:end]),
                    "on_part_end": lambda: self._note("end"),
                    "on_end": lambda: self._note("done"),
                },
                max_header_size=_MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise UploadError(f"the boundary of the multipart body cannot be used: {error}") from None
        self._pieces = pieces
        self._events = deque[_Event]()
        self._held: _Part | None = None
        self._digest = hashlib.sha256()
        self._inside = self._done = False
        self._paths = set[str]()  # the archive has none
        self._name_bytes = 0

    def _note(self, kind: str, data: bytes = b"") -> None:
        self._events.append((kind, data))

    async def session(self) -> AsyncGenerator[bytes]:
        """Yield the JSON of the create; nothing when the body begins with another part."""
        part = await self._next_part()
        if part is None or part.name != SESSION:
            self._held = part
            return
        async for piece in self._content():
            yield piece

    async def parts(self) -> AsyncGenerator[UploadPart]:
        """Yield the files and the archive. Raises UploadError naming the part that cannot be used."""
        while (part := self._held or await self._next_part()) is not None:
            self._held = None
            path, form = self._checked(part)
            digest = hashlib.sha256()
            yield UploadPart(self._digested(digest), path, form)
            async for _ in self._digested(digest):  # what nobody has read
                pass
            self._digest.update(f"{part.name}\0{path}\0{form}\0{digest.hexdigest()}\n".encode())

    def covered(self, idempotency: Idempotency) -> Idempotency:
        """Return the key with a digest that also covers names and content of what has arrived."""
        digest = hashlib.sha256(f"{idempotency.request_digest} {self._digest.hexdigest()}".encode())
        return Idempotency(idempotency.key, digest.hexdigest())

    def _checked(self, part: "_Part") -> tuple[str, str]:
        """Return the path of a file, or the form of an archive. Raises UploadError."""
        path = form = ""
        if part.name == ARCHIVE:
            form = _form_of(part)
        elif part.name == FILES:
            path = _path_of(part.file_name)
        elif part.name == SESSION:
            raise UploadError("session: must be the first part, and the only one of this name")
        else:
            raise UploadError(f"{part.name[:100]}: is no part of a create; send session, files and archive")
        if path in self._paths:
            what = f"files: two parts have the file name {path[:200]!r}" if path else "archive: send one at most"
            raise UploadError(what)
        if len(self._paths) > MAX_FILES:
            raise UploadError(f"files: at most {MAX_FILES} may be sent; send more of them as one archive")
        self._name_bytes += len(path.encode())
        if self._name_bytes > MAX_NAMES_BYTES:
            raise UploadError("files: their names are too long together; send them as one archive")
        self._paths.add(path)
        return path, form

    async def _digested(self, digest: "hashlib._Hash") -> AsyncGenerator[bytes]:
        async for piece in self._content():
            digest.update(piece)
            yield piece

    async def _next_part(self) -> "_Part | None":
        """Return the next part once its headers have arrived; None after the last one."""
        headers: dict[str, bytes] = {}
        field, value = b"", b""
        while not self._done:
            kind, data = await self._event()
            match kind:
                case "done":
                    self._done = True
                    await self._pass_over_rest()
                case "field":
                    field += data
                case "value":
                    value += data
                case "header":
                    headers[field.decode("latin-1").lower()] = value
                    field, value = b"", b""
                case "headers":
                    self._inside = True
                    return _part_of(headers)
                case _:
                    pass
        return None

    async def _pass_over_rest(self) -> None:
        """Read what follows the last boundary, which nobody needs. Raises UploadError when it is long."""
        left = _MAX_EPILOGUE_BYTES
        async for piece in self._pieces:
            left -= len(piece)
            if left < 0:
                raise UploadError("the multipart body continues after its last boundary")

    async def _content(self) -> AsyncGenerator[bytes]:
        """Yield what is left of the present part."""
        while self._inside:
            kind, data = await self._event()
            self._inside = kind != "end"
            if data:
                yield data

    async def _event(self) -> _Event:
        while not self._events:
            piece = await anext(self._pieces, None)
            if piece is None:
                raise UploadError("the multipart body ends before its last boundary")
            try:
                self._parser.write(piece)
            except FormParserError as error:
                raise UploadError(f"the multipart body cannot be read: {error}") from None
        return self._events.popleft()


def _part_of(headers: dict[str, bytes]) -> _Part:
    disposition, options = parse_options_header(headers.get("content-disposition", b""))
    if disposition != b"form-data" or b"name" not in options:
        raise UploadError("a part of the multipart body has no Content-Disposition with a name")
    media_type = parse_options_header(headers.get("content-type", b""))[0].decode("latin-1")
    return _Part(options[b"name"].decode("latin-1"), options.get(b"filename", b""), media_type)


def _form_of(part: _Part) -> str:
    name = part.file_name.decode("latin-1").lower()
    for suffix, media_type, form in _FORMS:
        if name.endswith(suffix) or (not name and part.media_type == media_type):
            return form
    raise UploadError("archive: its file name must end with .tar, .tar.gz, .tgz or .zip")


def _path_of(file_name: bytes) -> str:
    """Return the path of a file. The helper that writes it checks where it leads."""
    try:
        path = file_name.decode()
    except UnicodeDecodeError:
        raise UploadError("files: a file name is not UTF-8") from None
    if not path or path.endswith("/") or "\0" in path:
        raise UploadError(f"files: {path[:200]!r} is no file name; send the relative path of the file")
    return path
