# Calls a simulated server with the real gRPC (Debian's python3-grpcio, Google's C core). Messages are packed by hand, so that
# nothing of ours is in it.
import os
import sys
import time

import grpc


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def job(number, size):
    return b"\x08" + varint(number) + b"\x10" + varint(size) + b"\x1a\x03abc"


def fields(message):
    """Field numbers to values: numbers, and bytes by their length."""
    out, at = {}, 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = number()
        value = number()
        if tag & 7 == 2:
            at += value
        out[tag >> 3] = value
    return sorted(out.items())


def status(call):
    try:
        call()
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"
    return "OK"


def main(target):
    if target.startswith("https://"):
        with open(os.environ["SSL_CERT_FILE"], "rb") as file:
            trust = grpc.ssl_channel_credentials(file.read())
        channel = grpc.secure_channel(target[8:], trust)
    else:
        channel = grpc.insecure_channel(target[7:])
    compute = channel.unary_unary("/work.Worker/Compute")
    print("compute", fields(compute(job(1, 5))))
    begin = time.monotonic()
    calls = [compute.future(job(n, size)) for n, size in ((1, 600), (2, 5), (3, 5))]
    order = []
    for at, call in enumerate(calls):
        call.add_done_callback(lambda _, at=at: order.append(at + 1))
    results = [fields(call.result()) for call in calls]
    time.sleep(0.1)
    print("at once", [r[0][1] for r in results], "slow one last", order[-1] == 1)
    watch = channel.unary_stream("/work.Worker/Watch")
    print("watch", [dict(fields(m))[2] for m in watch(job(1, 20))])
    gather = channel.stream_unary("/work.Worker/Gather")
    print("gather", fields(gather(iter([job(1, 3), job(2, 4)]))))
    converse = channel.stream_stream("/work.Worker/Converse")
    print("converse", [fields(m)[1][1] for m in converse(iter([job(1, 3), job(2, 4)]))])
    print("health", fields(channel.unary_unary("/grpc.health.v1.Health/Check")(b"")))
    print("deadline", status(lambda: compute(job(1, 5000), timeout=0.3)))
    cancelled = compute.future(job(1, 5000))
    time.sleep(0.2)
    print("cancelled", cancelled.cancel())
    print("unknown", status(lambda: channel.unary_unary("/work.Worker/Idle")(b"")))
    print("broken", status(lambda: compute(b"\xff\xff\xff")))
    print("long", status(lambda: compute(b"\x1a" + varint(2_000_000) + bytes(2_000_000))))
    print("again", fields(compute(job(9, 1)))[0])
    channel.close()
    print("took", time.monotonic() - begin < 60)


main(sys.argv[1])
