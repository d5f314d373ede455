"""``twistd mailframe`` and ``twist mailframe``."""

from twisted.application.service import ServiceMaker

# twisted.application.service has no annotations
mailframe = ServiceMaker(  # type: ignore[no-untyped-call]
    "mailframe", "mailframe.tap", "A mail server: SMTP, submission, POP3 and its queue", "mailframe"
)
