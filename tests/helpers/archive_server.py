"""A web server on this machine that hands out one archive, well or badly, and tar files to hand out."""

import contextlib
import hashlib
import http.server
import io
import re
import tarfile
import threading


class ArchiveServer(http.server.HTTPServer):
    """Serves `content` at every path.

    `plan` holds one entry per request to come: None (behave), a status to answer, or ("break", count) to end the
    connection after that many bytes of the body, or ("shift", count) to answer a range request with a part that
    begins that many bytes later. An empty plan behaves. `ranges` tells whether range requests are
    understood; `claimed_length` replaces the Content-Length, which is left out unless `tells_length`; `kind` is the
    Content-Type. `asked` lists the Range headers of the requests so far, `sent` the bytes of each body.
    """

    def __init__(self, content, ranges=True, plan=(), claimed_length=None, tells_length=True, kind="application/x-tar"):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.ranges, self.plan, self.claimed_length = content, ranges, list(plan), claimed_length
        self.tells_length, self.kind = tells_length, kind
        self.asked, self.sent = [], []

    @property
    def url(self):
        return "http://127.0.0.1:{}/files/archive.tar".format(self.server_port)


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        step = server.plan.pop(0) if server.plan else None
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if isinstance(step, int):
            server.sent.append(0)
            self.send_error(step)
            return
        start = int(re.match(r"bytes=(\d+)-$", asked).group(1)) if asked and server.ranges else 0
        if step is not None and step[0] == "shift":
            start += step[1]
        body = server.content[start:]
        if start and not body:
            self.send_response(416)
            self.send_header("Content-Range", "bytes */{}".format(len(server.content)))
        elif asked and server.ranges:
            self.send_response(206)
            self.send_header(
                "Content-Range", "bytes {}-{}/{}".format(start, start + len(body) - 1, len(server.content))
            )
        else:
            self.send_response(200)
        self.send_header("Content-Type", server.kind)
        if server.tells_length:
            self.send_header("Content-Length", str(server.claimed_length or len(body)))
        self.end_headers()
        if step is not None and step[0] == "break":
            body = body[: step[1]]
        server.sent.append(len(body))
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Say nothing: the tests' output is theirs."""


@contextlib.contextmanager
def serving(content, **settings):
    """Run an ArchiveServer in a thread for as long as the `with` statement lasts."""
    with ArchiveServer(content, **settings) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def file_member(name, content=b"x"):
    """Return (member, content) of a plain file for `tar_of`."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def odd_member(name, kind, target=""):
    """Return (member, content) of a member of tar type `kind` (a link, a device, a folder...) for `tar_of`."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def tar_of(*members, **settings):
    """Return the bytes of a tar file of (member, content) pairs; `settings` are those of tarfile.open."""
    stream = io.BytesIO()
    settings.setdefault("mode", "w")
    with tarfile.open(fileobj=stream, **settings) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def md5(content):
    """Return the MD5 of bytes as hexadecimal digits."""
    return hashlib.md5(content).hexdigest()
