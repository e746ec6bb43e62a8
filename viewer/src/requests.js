// Requests, and in plain words why one failed.

/** Something that cannot be read; its message is for a person, `status` is HTTP's, 0 where there was no answer. */
export class Unavailable extends Error {
  constructor(message, status) {
    super(message);
    this.name = "Unavailable";
    this.status = status;
  }

  /** Whether the object is not there. */
  get gone() {
    return this.status === 404 || this.status === 410;
  }
}

const WHY = {
  401: "access is denied (401): it is private, and this page has no way to sign in",
  403: "access is denied (403): the bucket is private, or the file is not there; ask whoever published the maps",
  404: "it is not there (404)",
  410: "it has been removed (410)",
};

/** Short name of an object for messages: what follows the folder of the maps. */
function named(url) {
  const folder = new URL("../", location.href).href;
  return decodeURI(url.startsWith(folder) ? url.slice(folder.length) : url).split("?")[0];
}

/** Response to a request, or `Unavailable`. */
export async function request(url, options = {}) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const why = "no connection, or its server does not let this page read it (CORS)";
    throw new Unavailable(`${named(url)} cannot be reached: ${why}`, 0);
  }
  if (!response.ok) {
    const why = WHY[response.status] ?? `its server answers ${response.status} ${response.statusText}`;
    throw new Unavailable(`${named(url)} cannot be read: ${why.trim()}`, response.status);
  }
  return response;
}

/** Text of an object, or null where there is none or none that this page may read. */
export async function textIfAny(url) {
  try {
    return await (await request(url)).text();
  } catch (error) {
    if (error instanceof Unavailable) return null;
    throw error;
  }
}
