"""Daemons that are none: a control socket that accepts, and then does what a test wants."""
import pathlib
import socket
import threading


class Double:
    """Listens on DIR/control.sock. `answer` is the bytes that each request gets before the end of the connection; None: nothing,
    and the connection stays open."""

    def __init__(self, folder, answer=None):
        self.data = pathlib.Path(folder)
        self.data.mkdir(parents=True, exist_ok=True)
        self.answer = answer
        self.held = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.data / "control.sock"))
        self.listener.listen(64)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if self.answer is None:
                self.held.append(connection)
            else:
                threading.Thread(target=self.reply, args=(connection,), daemon=True).start()

    def reply(self, connection):
        with connection:
            try:
                got = b""
                while b"\r\n\r\n" not in got:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    got += piece
                connection.sendall(self.answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except OSError:
                pass  # the client went away first

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.held:
            connection.close()


def http(status, body, content_type="application/json"):
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
