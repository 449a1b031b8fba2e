# A client made of Debian's websockets: what it says and hears, one line each.
import asyncio
import ssl
import sys

import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatusCode
from websockets.frames import Frame, Opcode

BASE = sys.argv[1]
TLS = {"ssl": ssl.create_default_context()} if BASE.startswith("wss") else {}


def door(path, **more):
    # No compression: what is refused must be the length, not the extension.
    return websockets.connect(BASE + path, compression=None, **TLS, **more)


async def closes_with(connection):
    try:
        while True:
            await asyncio.wait_for(connection.recv(), 10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else closed.code


async def raw(connection, *frames, masked=True):
    for frame in frames:
        data = frame.serialize(mask=masked)
        connection.transport.write(data)


async def main():
    async with door("/echo") as connection:
        await connection.send("hello")
        print("echo", await connection.recv())
        sent = bytes(range(250)) * 280
        await connection.send(sent)
        heard = await connection.recv()
        print("echo binary", len(heard), heard == sent)
        await connection.send(["one ", "two ", "three"])
        print("echo in pieces", await connection.recv())
        pong = await connection.ping()
        await asyncio.wait_for(pong, 10)
        print("ping answered True")
    async with door("/chat") as one, door("/chat") as two:
        await asyncio.sleep(0.1)
        await one.send("to all")
        print("room", [await one.recv(), await two.recv()])
    async with door("/live") as connection:
        print("live", [await connection.recv() for _ in range(3)])
    async with door("/echo") as connection:
        try:
            await connection.send(b"x" * 2_000_000)
        except ConnectionClosed:
            pass
        print("too big", await closes_with(connection))
    async with door("/echo") as connection:
        await raw(connection, Frame(Opcode.TEXT, b"\xff\xfe"))
        print("not text", await closes_with(connection))
    async with door("/echo") as connection:
        await raw(connection, Frame(Opcode.TEXT, b"hello"), masked=False)
        print("unmasked", await closes_with(connection))
    connection = await door("/echo")
    await connection.close()
    print("closed", connection.close_code)
    try:
        await door("/nothing")
    except InvalidStatusCode as refused:
        print("nothing there", refused.status_code)


asyncio.run(main())
