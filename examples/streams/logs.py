import asyncio
import json

import websockets


async def main():
    async with websockets.connect("ws://localhost:8080/ws/combined?api_key=YOUR-KEY") as socket:
        await socket.send(json.dumps({"action": "subscribe", "filter": {"level": "error", "pattern": "/disk|memory/i"}}))
        await socket.send(json.dumps({"action": "configure", "interval": 1000}))
        async for text in socket:
            event = json.loads(text)
            if event["type"] == "log":
                print(event["level"], event["message"], flush=True)
            elif event["type"] == "metrics":
                print("cpu", event["system"]["cpu"]["usage"], flush=True)


asyncio.run(main())
