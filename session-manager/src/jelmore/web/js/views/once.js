// An act that must not begin again while it runs, however often its button is pressed.
import { useRef, useState } from "../lib.js";

export function useOnce() {
  // Returns whether it runs, and a function that begins it: nothing happens when one runs already.
  const [busy, setBusy] = useState(false);
  const running = useRef(false);
  const once = async (act) => {
    if (running.current) return undefined;
    running.current = true;
    setBusy(true);
    try {
      return await act();
    } finally {
      running.current = false;
      setBusy(false);
    }
  };
  return [busy, once];
}
