"""A service of avatars with FastAPI, to begin your own with.

    pip install fastapi uvicorn
    uvicorn --app-dir examples fastapi_app:app
    curl --data-binary @me.jpg http://127.0.0.1:8000/avatar > me.png

Photos are not written to the disk. Who sends them is not checked: keep it on this computer, or behind your own login.
"""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator

import skimage.data
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

import bitmoji_jax as bj

MAX_BYTES, MAX_WAITING = 20_000_000, 16


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.translator = translator = bj.Translator.pretrained()
    app.state.turn, app.state.waiting = asyncio.Lock(), 0
    translator.photo(skimage.data.astronaut())  # compiles everything before the first request
    yield


app = FastAPI(title="Avatars", lifespan=lifespan)


@app.get("/healthz")
async def healthz() -> dict[str, int]:
    return {"waiting": app.state.waiting}


@app.post("/avatar", responses={200: {"content": {"image/png": {}}}})
async def avatar(request: Request) -> Response:
    if app.state.waiting >= MAX_WAITING:  # asked before the photo is read: no more than these are in memory
        raise HTTPException(503, "too many photos are waiting", headers={"Retry-After": "2"})
    app.state.waiting += 1
    try:
        photo = bytearray()
        async for part in request.stream():
            photo += part
            if len(photo) > MAX_BYTES:
                raise HTTPException(413, f"the photo has more than {MAX_BYTES:,} bytes")
        async with app.state.turn:  # one at a time, as each uses all cores
            image = await run_in_threadpool(app.state.translator.photo, bytes(photo))
    except bj.InputError as error:  # no image, no face, or one that cannot be used
        raise HTTPException(422, str(error)) from None
    finally:
        app.state.waiting -= 1
    png = io.BytesIO()
    image.save(png, "PNG")
    return Response(png.getvalue(), media_type="image/png")
