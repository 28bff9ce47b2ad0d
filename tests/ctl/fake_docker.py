"""A dockerd for tests: a process that answers GETs on a unix socket.

``python fake_docker.py SOCKET ANSWERS``: the file has, by the path of a request, its status and document; or a text
that is sent as it is. What is not in it is answered as by Docker: 404. The requests are printed, a line each.
"""

import json
import socketserver
import sys
from pathlib import Path


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        target = self.rfile.readline().decode().split()[1]
        while self.rfile.readline().strip():
            pass
        print(target, flush=True)
        answer = json.loads(Path(sys.argv[2]).read_text()).get(target, [404, {"message": "No such container: x"}])
        if isinstance(answer, str):
            self.wfile.write(answer.encode())
            return
        status, document = answer
        body = json.dumps(document).encode()
        head = f"HTTP/1.0 {status} Some Words\r\nContent-Type: application/json\r\nDocker-Experimental: false\r\n\r\n"
        self.wfile.write(head.encode() + body)


if __name__ == "__main__":
    with socketserver.UnixStreamServer(sys.argv[1], Handler) as server:
        print("listening", flush=True)
        server.serve_forever()
