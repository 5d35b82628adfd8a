// Texts of the agent and of other people, as a page may show them. Pure: no page and no network.
const BIDI = /[\u202a-\u202e\u2066-\u2069]/g;
const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g;
// What terminals obey: colours, titles, links, and moves of the cursor.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~])/g;

// A text in which nothing turns the reading direction, and control characters are seen: somebody may have to allow it.
export const plain = (text) => String(text ?? "").replace(BIDI, "").replace(CONTROL, (each) => String.fromCharCode(0x2400 + each.charCodeAt(0)));
// What a program printed, without its escape sequences.
export const printed = (text) => plain(String(text ?? "").replace(ESCAPES, ""));
