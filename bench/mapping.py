"""Maps the identity with multiprocessing. Reads requests "ordered|unordered CHUNK COUNT", writes "SECONDS"."""

import sys
import time
from multiprocessing import Pool


def identity(x):
    return x


def main():
    with Pool(2) as pool:
        print("ready", flush=True)
        for request in sys.stdin:
            order, chunk, count = request.split()
            imap = pool.imap if order == "ordered" else pool.imap_unordered
            begin = time.perf_counter()
            # sum() is the cheapest way to take every result; imap itself promises the order.
            total = sum(imap(identity, range(int(count)), int(chunk)))
            seconds = time.perf_counter() - begin
            if total != int(count) * (int(count) - 1) // 2:
                sys.exit("wrong sum: %d" % total)
            print(seconds, flush=True)


if __name__ == "__main__":
    main()
