// Files that go along with a prompt, as content blocks of the API.
const MOST_BYTES = 3_700_000; // 5 MiB as base64
const IMAGES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const PDF = "application/pdf";

export async function blockOf(file) {
  // Returns the content block of a file. Throws an Error that says what is wrong with it.
  if (file.size > MOST_BYTES) throw new Error(`${file.name} is larger than ${MOST_BYTES.toLocaleString()} bytes; upload it under Files`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (IMAGES.includes(file.type)) {
    return { type: "image", source: { type: "base64", media_type: file.type, data: base64(bytes) } };
  }
  if (file.type === PDF) {
    return { type: "document", title: file.name, source: { type: "base64", media_type: PDF, data: base64(bytes) } };
  }
  if (bytes.includes(0)) throw new Error(`${file.name} is neither an image, a PDF nor text; upload it under Files`);
  return { type: "document", title: file.name, source: { type: "text", media_type: "text/plain", data: new TextDecoder().decode(bytes) } };
}

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}
