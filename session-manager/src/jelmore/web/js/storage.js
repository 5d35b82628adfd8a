// What the browser keeps for this page. Its storage may be full or forbidden: then a text lives as long as the page.
class Kept {
  constructor(area) {
    this.area = area; // a function: a browser that forbids its storage throws where it is named
    this.texts = new Map();
  }

  get(name) {
    if (this.texts.has(name)) return this.texts.get(name);
    try {
      return this.area().getItem(name);
    } catch {
      return null;
    }
  }

  put(name, text) {
    try {
      this.area().setItem(name, text);
    } catch {
      this.area().removeItem(name); // an older text must not come back, and it may make room for this one
      this.area().setItem(name, text);
    }
  }

  set(name, text) {
    try {
      this.put(name, text);
      this.texts.delete(name);
    } catch {
      this.texts.set(name, String(text));
    }
  }

  remove(name) {
    this.texts.delete(name);
    try {
      this.area().removeItem(name);
    } catch {
      // Nothing is kept there.
    }
  }
}

export const browser = new Kept(() => localStorage);
export const tab = new Kept(() => sessionStorage);
