// Loads a page's module. A page is some thirty files: when the network changes meanwhile, as on a phone that leaves a
// house, a browser gives up those under way, and keeps in mind for this page that they failed. So the page is loaded again.
const AGAIN_MS = 2000;
const page = document.body.classList.contains("shell") ? "./terminal.js" : "./main.js";

try {
  await import(page);
} catch (error) {
  if (!(error instanceof TypeError)) throw error; // a fault of the module's own, which would only come again
  document.querySelector("#app .loading, #state").textContent = "The page could not be loaded. Trying again …";
  console.info(String(error));
  await answered();
  location.reload();
}

async function answered() {
  // Returns when the server answers: a reload without it would leave the browser's own page of errors.
  for (;;) {
    await new Promise((done) => setTimeout(done, AGAIN_MS));
    try {
      if ((await fetch("/ui/js/boot.js", { cache: "no-store", signal: AbortSignal.timeout(10_000) })).ok) return;
    } catch {
      // Not yet.
    }
  }
}
