"""TLS for the clients of ci/soak: handshakes that can be left in the middle, sessions that are asked for again, and a look at
which certificate each name was shown.

It stands between a connection and what asks on it, as readers and writers of asyncio do: those of Python itself do not
take a session, and their handshakes cannot be left.
"""
import asyncio
import os
import re
import ssl

# Which certificate of t/cert the gateway's script shows to whom; who asks for REFUSED gets none.
NAMES = {"test.example": "server.crt", "deep.wild.example": "deep.crt"}
REFUSED = "refused.example"
# All that must happen at least once.
KINDS = ("TLS 1.2", "TLS 1.2 again", "TLS 1.3", "refused", "left")


class Left(Exception):
    """The client went in the middle of a handshake."""


class Strange(Exception):
    """A handshake that went as it must not."""


class Hellos:
    """What a client says, and what clients have seen so far."""

    def __init__(self, certs):
        self.contexts = {}
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(os.path.join(certs, "ca.crt"))
            context.minimum_version = context.maximum_version = version
            self.contexts[version] = context
        self.shown = {}
        for name, file in NAMES.items():
            with open(os.path.join(certs, file)) as fh:
                first = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", fh.read(), re.S).group()
            self.shown[name] = ssl.PEM_cert_to_DER_cert(first)
        self.sessions = {}
        self.seen = {kind: 0 for kind in KINDS}

    async def shake(self, rng, reader, writer):
        """The same connection with TLS on it; None if the gateway refused whom it must refuse."""
        version, context = rng.choice(list(self.contexts.items()))
        name = REFUSED if rng.random() < 0.05 else rng.choice(list(NAMES))
        known = None
        if version == ssl.TLSVersion.TLSv1_2 and rng.random() < 0.7:
            known = self.sessions.get(name)
        stream = Stream(context, name, known, reader, writer)
        # after how many of its messages, or in the middle of which, the client goes
        leaves = rng.choice((0.5, 1, 1.5)) if rng.random() < 0.05 else None
        try:
            await stream.shake(leaves, rng)
        except Left:
            self.seen["left"] += 1
            raise
        except ssl.SSLError as why:
            if name == REFUSED and "alert" in str(why).lower():
                self.seen["refused"] += 1
                return None
            raise Strange("handshake for %s: %s" % (name, why))
        if name == REFUSED:
            raise Strange("handshake for %s was not refused" % name)
        if known and not stream.tls.session_reused:
            raise Strange("the session of %s was not found" % name)
        if stream.tls.getpeercert(True) != self.shown[name]:
            raise Strange("%s was shown the certificate of another" % name)
        if version == ssl.TLSVersion.TLSv1_2:
            # one that was asked for again is as old as it was
            if not known:
                self.sessions[name] = stream.tls.session
            self.seen["TLS 1.2 again" if known else "TLS 1.2"] += 1
        else:
            self.seen["TLS 1.3"] += 1
        return stream


class Stream:
    """A reader and a writer in one."""

    def __init__(self, context, name, session, reader, writer):
        self.reader, self.writer, self.transport = reader, writer, writer.transport
        self.come, self.go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.come, self.go, server_hostname=name, session=session)
        self.plain = b""

    async def shake(self, leaves, rng):
        sent = 0
        while True:
            try:
                self.tls.do_handshake()
                self.writer.write(self.go.read())
                return
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                self.writer.write(self.go.read())
                raise
            data = self.go.read()
            sent += bool(data)
            if leaves and data and sent >= leaves:
                self.writer.write(data[:len(data) // 2] if leaves % 1 else data)
                await asyncio.sleep(rng.random() * 0.02)
                raise Left()
            self.writer.write(data)
            await self.more()

    async def more(self):
        """Waits for something to come."""
        data = await self.reader.read(65536)
        if not data:
            raise asyncio.IncompleteReadError(self.plain, None)
        self.come.write(data)

    async def fill(self):
        while True:
            try:
                data = self.tls.read(65536)
            except ssl.SSLWantReadError:
                await self.more()
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                raise asyncio.IncompleteReadError(self.plain, None)
            self.plain += data
            return

    def take(self, n):
        data, self.plain = self.plain[:n], self.plain[n:]
        return data

    async def readuntil(self, separator):
        while (at := self.plain.find(separator)) < 0:
            await self.fill()
        return self.take(at + len(separator))

    async def readexactly(self, n):
        while len(self.plain) < n:
            await self.fill()
        return self.take(n)

    def at_eof(self):
        return self.reader.at_eof()

    def write(self, data):
        for start in range(0, len(data), 16384):
            self.tls.write(data[start:start + 16384])
        self.writer.write(self.go.read())

    def close(self):
        self.writer.close()
