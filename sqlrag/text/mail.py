"""Mail and saved pages (MHTML): what a message says in all its parts, without what is attached to it."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

from sqlrag.text.decoding import decode_html, decode_mail
from sqlrag.text.documents import Converted, Json, UnreadableError
from sqlrag.text.html import html_to_text

if TYPE_CHECKING:
    from email.message import Message

__all__ = ["mail", "web_archive"]

_HEADERS = ("From", "To", "Cc", "Date", "Subject")


def mail(data: bytes) -> Converted:
    """Return a message: its main headers, its texts, and the names of what is attached. Raises UnreadableError."""
    message = message_from_bytes(data, policy=policy.default)
    texts: list[str] = []
    attached: list[str] = []
    try:
        headers = _headers(message)
        if not headers:
            raise UnreadableError("is not a message: it has none of the headers From, To, Date and Subject")
        _gather(message, texts, attached)
        id_ = str(message["Message-ID"] or "")
    except (LookupError, ValueError, AttributeError, TypeError, AssertionError) as error:  # of a broken part
        raise UnreadableError(f"cannot be read as a message: {error}") from error
    lines = [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Attached: {', '.join(attached)}"] if attached else []
    metadata: dict[str, Json] = {name.lower(): value for name, value in headers.items() if name != "Subject"}
    if id_:
        metadata["message_id"] = id_
    if attached:
        metadata["attached"] = list(attached)
    body = "\n\n".join(text for text in map(str.strip, texts) if text)
    return Converted(headers.get("Subject", ""), "\n".join(lines) + "\n\n" + body, metadata)


def _headers(message: Message[Any, Any]) -> dict[str, str]:
    found = {}
    for name in _HEADERS:
        raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
        if any("\udc80" <= character <= "\udcff" for character in raw):  # bytes that the header may not have
            value = decode_mail(str(raw).encode("ascii", "surrogateescape"), None)
        else:
            value = str(message[name] or "")
        if value := " ".join(value.split()):
            found[name] = value
    return found


def _gather(part: Message[Any, Any], texts: list[str], attached: list[str]) -> None:
    """Add the texts of a part and of those in it, in order, and the names of what is attached."""
    kind = part.get_content_type()
    inner: list[Any] = part.get_payload() if part.is_multipart() else []  # type: ignore[assignment]
    if kind == "multipart/alternative":
        inner = _best(inner)
    elif kind == "multipart/related":
        inner = inner[:1]
    elif kind == "message/rfc822":
        texts += ["\n".join(f"{name}: {value}" for name, value in _headers(one).items()) for one in inner]
    elif part.get_filename() and part.get_content_disposition() != "inline":
        attached.append(str(part.get_filename()))
        return
    for one in inner:
        _gather(one, texts, attached)
    if inner or part.is_multipart():
        return
    if kind.startswith("text/"):
        texts.append(_text(part))
    else:
        attached.append(str(part.get_filename() or kind))


def _best(parts: list[Any]) -> list[Any]:
    """Return which of several versions of the same text is read: the plain one, unless it is blank."""
    plain = (one for one in parts if one.get_content_type() == "text/plain" and _text(one).strip())
    others = (one for one in parts if one.get_content_type() != "text/plain")
    best = next(plain, None) or next(others, None)
    return [] if best is None else [best]


def _text(part: Message[Any, Any]) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else str(part.get_payload()).encode("utf-8", "replace")
    if part.get_content_type() != "text/html":
        return decode_mail(data, part.get_content_charset())
    charset = part.get_content_charset()
    return html_to_text(decode_mail(data, charset) if charset else decode_html(data))[1]


def web_archive(data: bytes) -> Converted:
    """Return the page of an MHTML file. Raises UnreadableError if it has none."""
    message = message_from_bytes(data, policy=policy.default)
    for part in message.walk():
        if part.get_content_type() in ("text/html", "application/xhtml+xml"):
            payload = part.get_payload(decode=True)
            charset = part.get_content_charset()
            page = payload if isinstance(payload, bytes) else b""
            return Converted(*html_to_text(decode_mail(page, charset) if charset else decode_html(page)))
    raise UnreadableError("has no page in it")
