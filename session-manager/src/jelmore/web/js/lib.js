// The libraries, under the names that this page uses.
import { Component, h, render } from "../vendor/preact.js";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact-hooks.js";
import { computed, signal } from "../vendor/signals.js";
import htm from "../vendor/htm.js";

export const html = htm.bind(h);
export { Component, computed, render, signal, useEffect, useLayoutEffect, useMemo, useRef, useState };
