// Keeps the site for use without a network, and isolates it from other origins, so that its worker may have threads.
// The export writes before this line VERSION, of the site's content, and FILES: address -> whether it is kept from the start.

const PAGE = new URL("./", location).href;
const CACHE = `${PAGE}#${VERSION}`; // another site of this host may have its own

addEventListener("install", (event) => event.waitUntil(keep(Object.keys(FILES).filter((name) => FILES[name]))));
addEventListener("activate", (event) => event.waitUntil(forgetOthers().then(() => clients.claim())));
addEventListener("fetch", (event) => {
  const url = event.request.url.split(/[?#]/)[0], name = url.slice(PAGE.length);
  const known = url.startsWith(PAGE) && (name in FILES || name === "index.html");
  if (event.request.method === "GET" && known) event.respondWith(answer(name === "index.html" ? PAGE : url));
});

async function keep(names) {
  const cache = await caches.open(CACHE);
  // Not what the browser kept of another version.
  await cache.addAll(names.map((name) => new Request(new URL(name, PAGE), { cache: "no-cache" })));
}

async function forgetOthers() {
  for (const name of await caches.keys()) {
    if (name !== CACHE && name.startsWith(`${PAGE}#`)) await caches.delete(name);
  }
}

async function answer(url) {
  const cache = await caches.open(CACHE);
  let response = await cache.match(url);
  if (!response) {
    response = await fetch(url, { cache: "no-cache" });
    if (!response.ok) return response;
    await cache.put(url, response.clone());
  }
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(response.body, { status: response.status, headers });
}
