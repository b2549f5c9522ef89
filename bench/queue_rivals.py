"""Has tasks done by RQ or Celery, with a worker in another process.

It says "ready". Each request is a line "LIBRARY SOCKET COUNT SIZE"; the answer is how many results were right. Run with
"work LIBRARY SOCKET" it is the worker.
"""
import importlib.util
import logging
import os
import subprocess
import sys
import time

name = os.path.splitext(os.path.basename(__file__))[0]


def echo(s):
    return s


def connection(socket):
    import redis
    return redis.Redis(unix_socket_path=socket)


def celery_app(socket):
    import celery
    app = celery.Celery(name, broker="redis+socket://" + socket, backend="redis+socket://" + socket)
    app.conf.update(task_ignore_result=False, worker_prefetch_multiplier=64, task_default_queue="bench-celery")
    return app, app.task(name="echo")(echo)


def work(library, socket):
    if library == "rq":
        import rq
        rq.SimpleWorker([rq.Queue("bench-rq", connection=connection(socket))], connection=connection(socket)).work(logging_level="ERROR")
    else:
        celery_app(socket)[0].worker_main(["worker", "--pool=solo", "--loglevel=ERROR", "--without-gossip", "--without-mingle",
                                           "--without-heartbeat"])


def submit_rq(socket, texts):
    import rq
    queue = rq.Queue("bench-rq", connection=connection(socket))
    sys.modules[name] = sys.modules["__main__"]
    jobs = queue.enqueue_many([rq.Queue.prepare_data(name + ".echo", (t,), result_ttl=60) for t in texts])
    right = 0
    for job, text in zip(jobs, texts):
        while job.get_status(refresh=True) not in ("finished", "failed"):
            time.sleep(0.001)
        right += job.return_value() == text
    return right


def submit_celery(echo_task, texts):
    results = [echo_task.delay(t) for t in texts]
    return sum(r.get(timeout=60) == t for r, t in zip(results, texts))


def main():
    worker = app = None
    print("ready", flush=True)
    try:
        for line in sys.stdin:
            library, socket, count, size = line.split()
            texts = [str(i).zfill(int(size)) for i in range(int(count))]
            if worker is None:
                worker = subprocess.Popen([sys.executable, __file__, "work", library, socket], stdin=subprocess.DEVNULL,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=os.path.dirname(__file__))
                if library == "celery":
                    app = celery_app(socket)
            print(submit_rq(socket, texts) if library == "rq" else submit_celery(app[1], texts), flush=True)
    finally:
        if worker is not None:
            worker.kill()
            worker.wait()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    if sys.argv[1:2] == ["work"]:
        work(*sys.argv[2:4])
    else:
        main()
