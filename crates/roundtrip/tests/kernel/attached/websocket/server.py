# A server made of Debian's websockets; ends by itself after some seconds.
import asyncio
import http
import sys

import websockets
from websockets.exceptions import ConnectionClosed


async def serve(connection):
    path = connection.path
    try:
        async for message in connection:
            print(path, message if isinstance(message, str) else f"{len(message)} bytes", flush=True)
            if path == "/pieces":
                await connection.send([message, " and ", message])
            elif path == "/going":
                await connection.close(1001, "off for today")
            else:
                await connection.send(message)
    except ConnectionClosed:
        pass
    print(path, "closed", connection.close_code, flush=True)


async def judge(path, headers):
    if path == "/forbidden":
        return http.HTTPStatus.FORBIDDEN, [], b"no\n"


async def main():
    host, port, lasts = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    async with websockets.serve(serve, host, port, process_request=judge):
        await asyncio.sleep(lasts)


asyncio.run(main())
