"""A TCP proxy that makes loopback slow, far away, or silent, for tests with real daemons.

    with Proxy(daemon.address(), bytes_per_second=125_000, delay=0.02) as slow:
        other.get(iri + "?peer=" + slow.address())
        slow.unplug()      # from now on nothing passes and nobody is told: a pulled cable
        slow.plug()        # what waited goes on

The rate holds for each direction, all connections together; the delay is one way. Little is buffered here, so a sender
feels the rate as it would on a real line. One thread, ended by close(); only loopback.
"""
import asyncio
import re
import socket
import threading

PIECE = 16 << 10
SOCKET_BUFFER = 64 << 10
IN_DELAY_MAX = 256  # pieces under way in one direction of one connection
CATCH_UP_SECONDS = 0.05  # a thread that woke late makes up for so much


class Line:
    """One direction: what it carries per second is shared by all connections."""

    def __init__(self, bytes_per_second):
        self.bytes_per_second = bytes_per_second
        self.free_at = 0.0
        self.carried = 0

    async def carry(self, count):
        self.carried += count
        if not self.bytes_per_second:
            return
        now = asyncio.get_running_loop().time()
        self.free_at = max(self.free_at, now - CATCH_UP_SECONDS) + count / self.bytes_per_second
        if self.free_at > now:
            await asyncio.sleep(self.free_at - now)


class Proxy:
    def __init__(self, target, bytes_per_second=0, delay=0.0):
        """target: a multiaddr of a TCP listener, or (host, port). Rate 0 is unlimited."""
        self.suffix = ""
        if isinstance(target, str):
            found = re.fullmatch(r"/ip4/([0-9.]+)/tcp/(\d+)(/p2p/\w+)?", target)
            self.suffix = found.group(3) or ""
            target = (found.group(1), int(found.group(2)))
        self.target = target
        self.delay = delay
        self.to_target, self.from_target = Line(bytes_per_second), Line(bytes_per_second)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        self.tasks = set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def address(self):
        """As a multiaddr, with the peer of the target when that was given."""
        return f"/ip4/127.0.0.1/tcp/{self.port}{self.suffix}"

    def set_rate(self, bytes_per_second):
        for line in (self.to_target, self.from_target):
            line.bytes_per_second = bytes_per_second

    def unplug(self):
        self.loop.call_soon_threadsafe(self.plugged.clear)

    def plug(self):
        self.loop.call_soon_threadsafe(self.plugged.set)

    def bytes_from_target(self):
        return self.from_target.carried

    def close(self):
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stop.set)
            self.thread.join(10)
        self.listener.close()

    # ---- on the thread ----

    def run(self):
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self.serve())
        finally:
            self.loop.close()

    async def serve(self):
        self.stop, self.plugged = asyncio.Event(), asyncio.Event()
        self.plugged.set()
        self.listener.setblocking(False)
        accepting = asyncio.ensure_future(self.accept())
        await self.stop.wait()
        for task in (accepting, *self.tasks):
            task.cancel()
        await asyncio.gather(accepting, *self.tasks, return_exceptions=True)

    async def accept(self):
        while True:
            client, _ = await self.loop.sock_accept(self.listener)
            task = asyncio.ensure_future(self.connection(client))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def connection(self, client):
        self.connections += 1
        target = socket.socket()
        target.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        try:
            for end in (client, target):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self.loop.sock_connect(target, self.target)
            await asyncio.gather(self.pump(client, target, self.to_target), self.pump(target, client, self.from_target))
        except OSError:
            pass
        finally:
            client.close()
            target.close()

    async def pump(self, source, sink, line):
        under_way = asyncio.Queue(IN_DELAY_MAX)
        sending = asyncio.ensure_future(self.deliver(under_way, sink))
        try:
            while True:
                await self.plugged.wait()
                data = await self.loop.sock_recv(source, PIECE)
                await self.plugged.wait()
                await line.carry(len(data))
                await under_way.put((self.loop.time() + self.delay, data))
                if not data:
                    break
            await sending
        finally:
            sending.cancel()

    async def deliver(self, under_way, sink):
        while True:
            due, data = await under_way.get()
            if due > self.loop.time():
                await asyncio.sleep(due - self.loop.time())
            await self.plugged.wait()
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            await self.loop.sock_sendall(sink, data)
