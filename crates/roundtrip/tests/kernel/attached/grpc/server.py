# A real gRPC server for simulated clients: answers `Compute` with the job's number and size, after a millisecond for each unit; says
# when a call was given up.
import sys
import time
from concurrent import futures

import grpc


def fields(message):
    out, at = {}, 0
    while at < len(message):
        tag, at = message[at], at + 1
        value, shift = 0, 0
        while True:
            byte, at = message[at], at + 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        if tag & 7 == 2:
            at += value
        out[tag >> 3] = value
    return out


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def compute(request, context):
    job = fields(request)
    left = context.time_remaining()
    if left is not None and left < 60:
        print("deadline", 0 < left < 0.3, flush=True)
    for _ in range(job.get(2, 0) // 10):
        if not context.is_active():
            print("stopped", job.get(1, 0), flush=True)
            return b""
        time.sleep(0.01)
    return b"\x08" + varint(job.get(1, 0)) + b"\x10" + varint(job.get(2, 0))


def watch(request, context):
    job = fields(request)
    for done in range(1, 4):
        yield b"\x08" + varint(job[1]) + b"\x10" + varint(done) + b"\x18\x03"
    context.set_trailing_metadata((("x-left", "0"),))


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/work.Worker/Compute":
            return grpc.unary_unary_rpc_method_handler(compute)
        if details.method == "/work.Worker/Watch":
            return grpc.unary_stream_rpc_method_handler(watch)
        return None


server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers((Handler(),))
server.add_insecure_port(sys.argv[1])
server.start()
time.sleep(float(sys.argv[2]))
server.stop(0)
