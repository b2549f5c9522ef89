"""Calls a method over XML-RPC from a process of its own. Reads "CALLERS SECONDS", writes "CALLS SECONDS".

The server is the standard library's, with a thread per connection and connections that stay open."""

import multiprocessing
import socketserver
import sys
import threading
import time
import xmlrpc.client
import xmlrpc.server


class Parrot:
    def say(self, text):
        return text


class Handler(xmlrpc.server.SimpleXMLRPCRequestHandler):
    protocol_version = "HTTP/1.1"  # 1.0, the default, takes a connection for every call


class Server(socketserver.ThreadingMixIn, xmlrpc.server.SimpleXMLRPCServer):
    daemon_threads = True
    request_queue_size = 128


def serve(ports):
    with Server(("127.0.0.1", 0), Handler, logRequests=False) as server:
        server.register_instance(Parrot())
        ports.put(server.server_address[1])
        server.serve_forever()


def call(port, number, until, counts, errors):
    text = "%064d" % number
    done = 0
    try:
        with xmlrpc.client.ServerProxy("http://127.0.0.1:%d" % port) as parrot:
            while done == 0 or time.perf_counter() < until:
                if parrot.say(text) != text:
                    raise ValueError("a reply differs from what was sent")
                done += 1
    except Exception as error:
        errors.append(error)
    counts.append(done)


def main():
    ports = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(ports,), daemon=True)
    server.start()
    port = ports.get()
    print("ready", flush=True)
    for request in sys.stdin:
        callers, seconds = request.split()
        counts, errors = [], []
        begin = time.perf_counter()
        until = begin + float(seconds)
        threads = [
            threading.Thread(target=call, args=(port, i, until, counts, errors)) for i in range(int(callers))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            sys.exit("%d callers failed: %r" % (len(errors), errors[0]))
        print(sum(counts), time.perf_counter() - begin, flush=True)
    server.terminate()
    server.join()


if __name__ == "__main__":
    main()
