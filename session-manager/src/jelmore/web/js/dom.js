// The part of the libraries that modules without templates need.
export { h } from "../vendor/preact.js";
export { useLayoutEffect, useRef } from "../vendor/preact-hooks.js";
